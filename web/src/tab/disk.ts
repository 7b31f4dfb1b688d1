import type { Entry } from "../api/types";
import type { Named } from "./zip";

/** The folders of this page's disk: runs, each as it is natively, and archives of data. */
export const [RUNS, DATA] = ["runs", "data"] as const;
/** The files of a run directory that the page reads. */
export const [CONFIG, EVENTS] = ["config.toml", "events.jsonl"] as const;

export type Folder = FileSystemDirectoryHandle;

/** The origin private file system: it is of this site, in this browser, on this machine. */
export function root(): Promise<Folder> {
  return navigator.storage.getDirectory();
}

/** A folder of the disk by its path; null where it is not there and `create` does not say otherwise. */
export async function folder(of: Folder, path: string, create = false): Promise<Folder | null> {
  let at = of;
  for (const name of path.split("/").filter(Boolean)) {
    try {
      at = await at.getDirectoryHandle(name, { create });
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }
  return at;
}

/** A file of a folder by its path; null where it is not there. */
export async function file(of: Folder, path: string): Promise<File | null> {
  const names = path.split("/");
  const last = names.pop() ?? "";
  try {
    const at = await folder(of, names.join("/"));
    return (await at?.getFileHandle(last))?.getFile() ?? null;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && (error.name === "NotFoundError" || error.name === "TypeMismatchError");
}

/** Writes a file, in whole or not at all; `told` hears how many bytes are there. */
export async function write(
  of: Folder,
  path: string,
  from: Blob,
  told?: (bytes: number) => void,
): Promise<void> {
  const names = path.split("/");
  const last = names.pop() ?? "";
  const at = (await folder(of, names.join("/"), true)) as Folder;
  const before = await at.getFileHandle(last).then(
    () => true,
    () => false,
  );
  let bytes = 0;
  const counted = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(part, out) {
      bytes += part.length;
      told?.(bytes);
      out.enqueue(part);
    },
  });
  try {
    const stream = await at.getFileHandle(last, { create: true }).then((made) => made.createWritable());
    await from.stream().pipeThrough(counted).pipeTo(stream);
  } catch (error) {
    // What was there before stays as it was; an empty file is nothing.
    if (!before) await at.removeEntry(last).catch(() => undefined);
    if (error instanceof DOMException && error.name === "QuotaExceededError")
      throw new Error(
        `This browser has no room for ${last}; delete runs or pictures here, or free the disk.`,
        {
          cause: error,
        },
      );
    throw error;
  }
}

/** All files below a folder, by name. */
export async function files(of: Folder, before = ""): Promise<{ name: string; file: File }[]> {
  const found: { name: string; file: File }[] = [];
  for await (const [name, handle] of of.entries()) {
    const path = before + name;
    if (handle.kind === "directory") found.push(...(await files(handle as Folder, `${path}/`)));
    else found.push({ name: path, file: await (handle as FileSystemFileHandle).getFile() });
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The entries of a log. Lines that are none, as one that was torn by a full disk or a kill, are passed over; who goes on with the run says so in it. */
export function entries(log: string): Entry[] {
  const lines = log.split("\n");
  lines.pop();
  return lines.filter(Boolean).flatMap((line) => {
    try {
      return [JSON.parse(line) as Entry];
    } catch {
      return [];
    }
  });
}

/** A run of the disk, as a list shows it. */
export interface Listed {
  name: string;
  bytes: number;
  /** When something was written last, in milliseconds since 1970. */
  written: number;
  state: "done" | "stopped" | "failed";
  /** Why it cannot be read. */
  trouble?: string;
}

/** How the last process of a run ended; one that said nothing was closed, and can be taken on as a stopped one. */
export function ended(log: Entry[]): Listed["state"] {
  const last = log.at(-1);
  return last?.type === "run_finished" ? last.status : "stopped";
}

/** The runs of the disk, the newest first. */
export async function runs(of: Folder): Promise<Listed[]> {
  const all = await folder(of, RUNS, true);
  const found: Listed[] = [];
  for await (const [name, handle] of (all as Folder).entries()) {
    if (handle.kind !== "directory") continue;
    const inside = await files(handle as Folder);
    const listed: Listed = {
      name,
      bytes: inside.reduce((sum, { file }) => sum + file.size, 0),
      written: Math.max(0, ...inside.map(({ file }) => file.lastModified)),
      state: "stopped",
    };
    try {
      const log = inside.find((one) => one.name === EVENTS);
      if (log) listed.state = ended(entries(await log.file.text()));
    } catch (error) {
      listed.trouble = error instanceof Error ? error.message : String(error);
    }
    found.push(listed);
  }
  return found.sort((a, b) => b.written - a.written);
}

/** What may stand in the name of a run or of data: it is a folder's, on every system that takes the run on. */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** A name of a run or of data made of what somebody called it. */
export function plain(text: string): string {
  const made = text.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+|-+$/g, "");
  return made.slice(0, 64) || "mine";
}

/** The name with a number behind it where it is taken. */
export function free(name: string, taken: Iterable<string>): string {
  const known = new Set(taken);
  let made = name;
  for (let n = 2; known.has(made); n += 1) made = `${name.slice(0, 60)}-${n}`;
  return made;
}

/**
 * A run directory as it stands in an archive: its files by their names inside of it. The archive may have it in a folder, as those of other
 * programs do. What has no configuration, or a name that leads out, is refused.
 */
export function runOf(archive: Named[]): { name: string | null; files: Named[] } {
  const configs = archive.filter(({ name }) => name === CONFIG || name.endsWith(`/${CONFIG}`));
  const top = configs.sort((a, b) => a.name.length - b.name.length)[0];
  if (!top) throw new Error(`This is no run directory: there is no ${CONFIG} in it.`);
  const before = top.name.slice(0, -CONFIG.length);
  const inside = archive.flatMap(({ name, file }) =>
    name.startsWith(before) ? [{ name: name.slice(before.length), file }] : [],
  );
  for (const { name } of inside) {
    if (name.split("/").some((part) => part === "" || part === "." || part === ".." || part.includes("\\")))
      throw new Error(`This is no run directory: it has a file called ${JSON.stringify(name)}.`);
  }
  return { name: before.split("/").at(-2) ?? null, files: inside };
}
