import { TAR_END, tarFront, tarPadding } from "../lib/upload";
import { plain } from "./disk";
import type { Named } from "./zip";

/** Data that somebody dropped, as one archive. */
export interface Archive {
  /** As `/data` has it, with its ending. */
  name: string;
  body: Blob;
}

/** Archives that are taken as they are; a compressed tar would have to be unpacked for each start of a run. */
const ARCHIVES = /\.(zip|tar)$/i;
/** What a folder has beside the pictures in it. */
const HIDDEN = /(^|\/)(\.|__MACOSX(\/|$)|Thumbs\.db$)/;

/** An uncompressed tar of these files, put together as it is read. */
export function tarOf(files: Named[]): Blob {
  const parts = files.flatMap(({ name, file }): BlobPart[] => [
    ...tarFront(name, file.size),
    file,
    new Uint8Array(tarPadding(file.size)),
  ]);
  return new Blob([...parts, new Uint8Array(TAR_END)], { type: "application/x-tar" });
}

/** The archive of what was chosen or dropped: an archive as it is, anything else as a tar. What cannot be data is refused in a sentence. */
export function archiveOf(files: Named[]): Archive {
  const wanted = files.filter(({ name }) => !HIDDEN.test(name));
  const [first] = wanted;
  if (!first) throw new Error("There is no file in what was dropped.");
  const ending = ARCHIVES.exec(first.name);
  if (wanted.length === 1 && ending) {
    const stem = first.name.slice(0, -ending[0].length);
    return { name: plain(stem).slice(0, 60) + ending[0].toLowerCase(), body: first.file };
  }
  const packed = wanted.find(({ name }) => /\.(zip|tar|gz|tgz|7z|rar)$/i.test(name));
  if (packed) {
    throw new Error(
      `${packed.name} cannot be taken here: drop one .zip or one .tar by itself, or a folder with a folder of pictures for each class.`,
    );
  }
  // A folder that holds all of it gives the name, and is no class.
  const top = first.name.split("/")[0] ?? "";
  const common = wanted.every(({ name }) => name.startsWith(`${top}/`));
  const inside = common
    ? wanted.map(({ name, file }) => ({ name: name.slice(top.length + 1), file }))
    : wanted;
  if (!inside.some(({ name }) => name.includes("/"))) {
    throw new Error(
      "Pictures are told apart by their folders: drop a folder with a folder of pictures for each class.",
    );
  }
  const sorted = [...inside].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { name: `${plain(common ? top : "pictures").slice(0, 60)}.tar`, body: tarOf(sorted) };
}

/** What was dropped or chosen as one file, to be sent: one by itself as it is, a folder as a tar. */
export function asFile(files: Named[]): File {
  const [only] = files;
  if (files.length === 1 && only?.file instanceof File && !only.name.includes("/")) return only.file;
  const { name, body } = archiveOf(files);
  return new File([body], name);
}

/** Every file below what was dropped, by its path. */
export async function filesOf(data: DataTransfer): Promise<Named[]> {
  // The list is emptied as soon as the event is over: all entries first.
  const entries = [...data.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  return (await Promise.all(entries.map(below))).flat();
}

async function below(entry: FileSystemEntry): Promise<Named[]> {
  const name = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise<File>((done, failed) => {
      (entry as FileSystemFileEntry).file(done, failed);
    });
    return [{ name, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Named[] = [];
  // It answers a hundred at a time, and none at the end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, failed) => {
      reader.readEntries(done, failed);
    });
    if (some.length === 0) return found;
    for (const inner of some) found.push(...(await below(inner)));
  }
}

/** The files of a chooser, of a folder or not. */
export function chosen(list: FileList): Named[] {
  return [...list].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
}
