/** Bytes of a name that a tar's header has room for. */
const TAR_NAME = 99;

/** The block that stands before a file in a tar; `x` is the kind of one that only says something of the file behind it. */
export function tarHeader(name: string, size: number, kind: "0" | "x" = "0"): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(512);
  const put = (text: string, at: number) => {
    block.set(new TextEncoder().encode(text), at);
  };
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0");
  put(name, 0);
  put("0000644\0", 100);
  put("0000000\0", 108);
  put("0000000\0", 116);
  put(`${octal(size, 11)}\0`, 124);
  put("00000000000\0", 136);
  put("        ", 148);
  put(kind, 156);
  put("ustar\u000000", 257);
  const sum = block.reduce((sum, byte) => sum + byte, 0);
  put(`${octal(sum, 6)}\0 `, 148);
  return block;
}

/** All that stands before a file in a tar: a name that is too long for the header has a record (pax) before it. */
export function tarFront(name: string, size: number): Uint8Array<ArrayBuffer>[] {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length <= TAR_NAME) return [tarHeader(name, size)];
  const rest = new TextEncoder().encode(` path=${name}\n`);
  // The record begins with its own length, those digits included.
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  const record = new Uint8Array(length);
  record.set(new TextEncoder().encode(String(length)));
  record.set(rest, length - rest.length);
  return [tarHeader("pax", length, "x"), record, new Uint8Array(tarPadding(length)), tarHeader("long", size)];
}

/** How many zeros stand behind a file of so many bytes. */
export const tarPadding = (size: number) => (512 - (size % 512)) % 512;

/** The zeros at the end of a tar. */
export const TAR_END = 1024;

/** What the names of files end in that can be sent, and the media type under which the server takes them; texts and questions alone go as an
 * archive of themselves. */
const KINDS: [ends: RegExp, type: string, alone: boolean][] = [
  [/\.zip$/i, "application/zip", false],
  [/\.tar$/i, "application/x-tar", false],
  [/\.(tar\.gz|tgz)$/i, "application/gzip", false],
  [/\.(txt|text|tokens|raw|json)$/i, "application/x-tar", true],
];
/** The same for a chooser of files, and in words. */
export const SENDABLE = ".zip,.tar,.gz,.tgz,.txt,.text,.tokens,.raw,.json";
export const NOT_SENDABLE = "is no .zip, .tar, .tar.gz or .tgz, no text (.txt) and no SQuAD (.json).";

/** The same of trained networks. */
export const TEACHERS = ".safetensors,.zip,.tar,.gz,.tgz";
export const NO_TEACHER = "is no .safetensors, and no .zip, .tar, .tar.gz or .tgz of a model folder.";

/** A name that the server takes, made of a file's without its ending. */
export function nameOf(file: string): string {
  const stem = file.replace(/\.(safetensors|zip|tar|tar\.gz|tgz)$/i, "").toLowerCase();
  return (
    stem
      .replaceAll(/[^a-z0-9_-]+/g, "-")
      .replace(/^[^a-z0-9]+|-+$/g, "")
      .slice(0, 64) || "mine"
  );
}

/** A file as it is sent; null where it cannot be. */
export function packed(file: File): { type: string; body: Blob } | null {
  const kind = KINDS.find(([ends]) => ends.test(file.name));
  return kind ? { type: kind[1], body: kind[2] ? tarOf(file) : file } : null;
}

/** A file's name without what says how it is sent; null where it cannot be. */
export function stemOf(name: string): string | null {
  const kind = KINDS.find(([ends]) => ends.test(name));
  return kind ? name.replace(kind[0], "") : null;
}

/** A tar of one file; a name that is too long for one becomes a plain one of the same ending. */
function tarOf(file: File): Blob {
  const ending = /\.[a-z0-9]+$/i.exec(file.name)?.[0] ?? "";
  const name = new TextEncoder().encode(file.name).length < 100 ? file.name : `file${ending}`;
  const zeros = new Uint8Array(tarPadding(file.size) + TAR_END);
  return new Blob([tarHeader(name, file.size), file, zeros]);
}
