import type { Executor, Runnable } from "../plan/executor";
import { type Device, trouble } from "./device";
import { Disk } from "./disk";
import type { Told } from "./protocol";

/** What the engine does; `web/tab/src/lib.rs` has the same. */
export type Job =
  | { kind: "open" }
  | { kind: "test" }
  | { kind: "look"; toml: string }
  | { kind: "start"; run: string; toml: string }
  | { kind: "resume"; run: string }
  | { kind: "plan"; model: string }
  | { kind: "review"; of: string }
  | { kind: "versus"; first: string; second: string }
  | { kind: "pictures"; run: string; places: number[] };

/** WebAssembly with JSPI, which TypeScript does not know yet. */
interface Jspi {
  Suspending: new (work: (...numbers: number[]) => Promise<number>) => WebAssembly.ImportValue;
  promising: (work: unknown) => () => Promise<void>;
}

/** Whether functions of this browser's WebAssembly can wait. */
export function canSuspend(): boolean {
  return "Suspending" in WebAssembly && "promising" in WebAssembly;
}

/** Bits of what a run is asked for while it trains; `web/tab/src/clock.rs` has them. */
export const STOP = 1;
export const SOON = 2;

/** A failed call. */
const FAILED = -1;

/**
 * What else the module imports: functions for a source of random numbers with which archives would be encrypted. None is written, so none
 * is called.
 */
function unused(module: WebAssembly.Module): WebAssembly.Imports {
  const imports: WebAssembly.Imports = {};
  for (const { module: of, name } of WebAssembly.Module.imports(module))
    if (of.startsWith("__wbindgen"))
      (imports[of] ??= {})[name] = () => {
        throw new Error(`the engine calls ${name}, which nobody should`);
      };
  return imports;
}

/**
 * Does a job in an instance of its own, as only one stack at a time may be suspended in an instance. `web/tab/src/imports.rs` says what is
 * imported. Ends when the job does; throws what the engine said before it trapped.
 */
export async function perform(
  module: WebAssembly.Module,
  device: Device,
  job: Job,
  tell: (told: Told) => void,
  asked: () => number,
): Promise<void> {
  const jspi = WebAssembly as unknown as Jspi;
  const disk = await Disk.open();
  const executors = new Map<number, Executor>();
  let next = 1;
  let memory: WebAssembly.Memory | null = null;
  let answer = new Uint8Array(0);
  let reason = "";
  let panic: string | null = null;

  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  /** What lies in the engine's memory, until it grows. */
  const bytes = (from = 0, length = 0): Uint8Array<ArrayBuffer> =>
    new Uint8Array(memory?.buffer as ArrayBuffer, from >>> 0, length >>> 0);
  const text = (from?: number, length?: number): string => decoder.decode(bytes(from, length));
  const give = (bytes: Uint8Array<ArrayBuffer>): number => {
    answer = bytes;
    return answer.length;
  };
  const giveText = (text: string): number => give(encoder.encode(text));
  const executor = (number = 0): Executor => {
    const found = executors.get(number);
    if (!found) throw new Error(`there is no plan ${number}`);
    return found;
  };

  const file = (error: unknown): string =>
    error instanceof DOMException ? `${error.name} ${error.message}` : `Error ${String(error)}`;
  const guarded =
    (say: (error: unknown) => string, work: (...numbers: number[]) => number) =>
    (...numbers: number[]): number => {
      try {
        return work(...numbers);
      } catch (error) {
        reason = say(error);
        return FAILED;
      }
    };
  /** A function that waits. What it reads of the memory it reads before it first does. */
  const waits = (say: (error: unknown) => string, work: (...numbers: number[]) => Promise<number>) =>
    new jspi.Suspending(async (...numbers) => {
      try {
        return await work(...numbers);
      } catch (error) {
        reason = say(error);
        return FAILED;
      }
    });

  const taper: WebAssembly.ModuleImports = {
    now: () => performance.now(),
    unix: () => Date.now(),
    asked,
    job: () => giveText(JSON.stringify(job)),
    reason: () => giveText(reason),
    take: (to: number, length: number) => {
      bytes(to, length).set(answer.subarray(0, length >>> 0));
      answer = new Uint8Array(0);
    },
    tell: (from: number, length: number) => {
      const told = JSON.parse(text(from, length)) as Told | { kind: "panic"; message: string };
      if (told.kind === "panic") panic = told.message;
      else tell(told);
    },

    device_open: waits(trouble, async () => giveText(JSON.stringify(await device.open()))),
    prepare: waits(trouble, async (from, length) => {
      const plan = JSON.parse(text(from, length)) as Runnable;
      executors.set(next, await device.prepare(plan));
      return next++;
    }),
    free: (number: number) => {
      executors.get(number)?.free();
      executors.delete(number);
    },
    write: guarded(trouble, (number, buffer = 0, from, length) => {
      executor(number).writeAt(buffer, bytes(from, length));
      return 0;
    }),
    read: waits(trouble, async (number, buffer = 0) => {
      const { buffer: whole, byteLength } = await executor(number).readAt(buffer);
      return give(new Uint8Array(whole, 0, byteLength));
    }),
    run: waits(trouble, async (number, from, length, live, back, tag) => {
      const program = text(from, length);
      await executor(number).submit(program, bytes(live, 32).slice(), back ? tag : undefined);
      return 0;
    }),
    metrics: waits(trouble, async (number, all) => {
      const done = await executor(number).metrics(all !== 0);
      const words: number[] = [];
      for (const { tag, values } of done) {
        const first = new Uint32Array([tag % 2 ** 32, Math.floor(tag / 2 ** 32)]);
        const slots = new Uint32Array(values.buffer).filter((_, k) => k % 64 === 0);
        words.push(...first, ...slots);
      }
      return give(new Uint8Array(new Uint32Array(words).buffer));
    }),

    disk_read: waits(file, async (from, length) => give(await disk.read(text(from, length)))),
    disk_open: waits(file, (from, length, how = 0) => disk.openFile(text(from, length), how)),
    disk_size: (number: number) => disk.file(number).getSize(),
    disk_get: guarded(file, (number = 0, at = 0, to, length) =>
      disk.file(number).read(bytes(to, length), { at }),
    ),
    disk_put: guarded(file, (number = 0, at = 0, from, length) =>
      disk.file(number).write(bytes(from, length), { at }),
    ),
    disk_flush: guarded(file, (number = 0) => {
      disk.file(number).flush();
      return 0;
    }),
    disk_close: (number: number) => {
      disk.closeFile(number);
    },
    disk_move: waits(file, async (from, length, to, end) => {
      await disk.move(text(from, length), text(to, end));
      return 0;
    }),
    disk_list: waits(file, async (from, length) => giveText(await disk.list(text(from, length)))),
    disk_kind: waits(file, (from, length) => disk.kind(text(from, length))),
    disk_make_folder: waits(file, async (from, length) => {
      await disk.makeFolder(text(from, length));
      return 0;
    }),
    disk_remove: waits(file, async (from, length) => {
      await disk.remove(text(from, length));
      return 0;
    }),
    disk_lock: waits(file, (from, length) => disk.lock(text(from, length))),
    disk_unlock: (number: number) => {
      disk.unlock(number);
    },
  };

  try {
    const { exports } = await WebAssembly.instantiate(module, { taper, ...unused(module) });
    memory = exports["memory"] as WebAssembly.Memory;
    await jspi.promising(exports["perform"])();
  } catch (error) {
    throw panic === null ? error : new Error(panic);
  } finally {
    for (const one of executors.values()) one.free();
    disk.close();
  }
}
