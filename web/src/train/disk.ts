/** What TypeScript knows in workers only. */
interface SyncFile {
  read(to: Uint8Array, options: { at: number }): number;
  write(from: Uint8Array, options: { at: number }): number;
  getSize(): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

/** What TypeScript does not know yet. */
interface FileHandle extends FileSystemFileHandle {
  createSyncAccessHandle(options?: { mode: "readwrite" | "read-only" }): Promise<SyncFile>;
  move(folder: FileSystemDirectoryHandle, name: string): Promise<void>;
}

/** How a file is opened; the engine's `disk.rs` has the numbers. */
const TO_READ = 0;
const NEW = 1;

/** An error of a name that the engine knows. */
function error(name: string, message: string): DOMException {
  return new DOMException(message, name);
}

/** The origin's private files, by paths like `/runs/NAME/events.jsonl`, as far as one job of the engine has them open. */
export class Disk {
  private readonly files = new Map<number, { path: string; file: SyncFile }>();
  private readonly locks = new Map<number, () => void>();
  private next = 1;

  private constructor(private readonly root: FileSystemDirectoryHandle) {}

  static async open(): Promise<Disk> {
    return new Disk(await navigator.storage.getDirectory());
  }

  private async folder(parts: string[], create: boolean): Promise<FileSystemDirectoryHandle> {
    let folder = this.root;
    for (const part of parts) folder = await folder.getDirectoryHandle(part, { create });
    return folder;
  }

  private async handle(path: string, create = false): Promise<FileHandle> {
    const parts = split(path);
    const name = parts.pop();
    if (name === undefined) throw error("TypeMismatchError", "this is a folder");
    const folder = await this.folder(parts, false);
    return (await folder.getFileHandle(name, { create })) as FileHandle;
  }

  /** The bytes of a file, also of one that is open here. */
  async read(path: string): Promise<Uint8Array<ArrayBuffer>> {
    for (const { path: of, file } of this.files.values()) {
      if (of !== path) continue;
      const bytes = new Uint8Array(file.getSize());
      return bytes.subarray(0, file.read(bytes, { at: 0 }));
    }
    const file = await (await this.handle(path)).getFile();
    return new Uint8Array(await file.arrayBuffer());
  }

  /** Opens a file by `how`; its number. */
  async openFile(path: string, how: number): Promise<number> {
    const handle = await this.handle(path, how !== TO_READ);
    const mode = how === TO_READ ? "read-only" : "readwrite";
    const file = await handle.createSyncAccessHandle({ mode });
    if (how === NEW) file.truncate(0);
    this.files.set(this.next, { path, file });
    return this.next++;
  }

  /** An open file. */
  file(number: number): SyncFile {
    const found = this.files.get(number);
    if (!found) throw error("InvalidStateError", "the file is not open");
    return found.file;
  }

  closeFile(number: number): void {
    this.files.get(number)?.file.close();
    this.files.delete(number);
  }

  /** Moves a file in the place of another, if there is one: a reader finds the one or the other, whole. */
  async move(path: string, to: string): Promise<void> {
    const parts = split(to);
    const name = parts.pop() ?? "";
    await (await this.handle(path)).move(await this.folder(parts, false), name);
  }

  /** What a folder holds: a line an item, `f` or `d` and the name. */
  async list(path: string): Promise<string> {
    const folder = await this.folder(split(path), false);
    const lines = [];
    const entries = folder as unknown as AsyncIterable<[string, FileSystemHandle]>;
    for await (const [name, { kind }] of entries) lines.push(`${kind === "file" ? "f" : "d"}${name}`);
    return lines.join("\n");
  }

  /** 1: a file, 2: a folder, 0: nothing. */
  async kind(path: string): Promise<number> {
    const parts = split(path);
    const name = parts.pop();
    if (name === undefined) return 2;
    try {
      const folder = await this.folder(parts, false);
      return await folder.getFileHandle(name).then(
        () => 1,
        (error: unknown) => {
          if (error instanceof DOMException && error.name === "TypeMismatchError") return 2;
          throw error;
        },
      );
    } catch {
      return 0;
    }
  }

  async makeFolder(path: string): Promise<void> {
    await this.folder(split(path), true);
  }

  async remove(path: string): Promise<void> {
    const parts = split(path);
    const name = parts.pop() ?? "";
    await (await this.folder(parts, false)).removeEntry(name);
  }

  /** Takes the Web Lock of a name; its number, 0 if another tab or job holds it. The browser lets go of it when the worker ends. */
  lock(name: string): Promise<number> {
    return new Promise((answer, fail) => {
      const held = (lock: Lock | null): Promise<void> | void => {
        if (!lock) {
          answer(0);
          return;
        }
        const number = this.next++;
        const until = new Promise<void>((release) => this.locks.set(number, release));
        answer(number);
        return until;
      };
      navigator.locks.request(`taper${name}`, { ifAvailable: true }, held).catch(fail);
    });
  }

  unlock(number: number): void {
    this.locks.get(number)?.();
    this.locks.delete(number);
  }

  /** Closes what a job left open. */
  close(): void {
    for (const number of this.files.keys()) this.closeFile(number);
    for (const number of this.locks.keys()) this.unlock(number);
  }
}

function split(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}
