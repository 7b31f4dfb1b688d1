/** Zips whose entries are stored, made and read lazily: a blob of files is put together and taken apart without holding what is in it. */

/** A file with the name that it has in an archive. */
export interface Named {
  /** With `/` between folders. */
  name: string;
  file: Blob;
}

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
/** Names are UTF-8. */
const UTF8 = 1 << 11;
/** What is larger would need zip64. */
const MOST_BYTES = 0xffffffff;
const MOST_FILES = 0xffff;
/** Bytes of the records without what follows them: of a file before its data, of one in the directory, and of the end. */
const [LOCAL_BYTES, CENTRAL_BYTES, END_BYTES] = [30, 46, 22];
const [STORED, DEFLATED] = [0, 8];
/** Files that are gathered in memory are small: a run's own, or a data set's list. */
const MOST_INFLATED = 4 * 2 ** 30;

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

/** Goes on with a CRC-32 that begins at 0. */
export function crc32(bytes: Uint8Array, crc = 0): number {
  let c = ~crc;
  for (const byte of bytes) c = (c >>> 8) ^ (TABLE[(c ^ byte) & 255] as number);
  return ~c >>> 0;
}

async function crcOf(file: Blob): Promise<number> {
  let crc = 0;
  for (const reader = file.stream().getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return crc;
    crc = crc32(value, crc);
  }
}

/** The records of a zip are little-endian numbers of two bytes (`H`) or four (`I`). */
function record(format: string, values: number[]): Uint8Array<ArrayBuffer> {
  const sizes = Array.from(format, (kind) => (kind === "H" ? 2 : 4));
  const view = new DataView(new ArrayBuffer(sizes.reduce((sum, size) => sum + size, 0)));
  let at = 0;
  values.forEach((value, i) => {
    if (sizes[i] === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += sizes[i] as number;
  });
  return new Uint8Array(view.buffer);
}

/** A date and a time of day as MS-DOS had them: years from 1980, and every second second. */
function dos(time: Date): [time: number, date: number] {
  const [year, month, day] = [Math.max(time.getFullYear(), 1980), time.getMonth() + 1, time.getDate()];
  return [
    (time.getHours() << 11) | (time.getMinutes() << 5) | (time.getSeconds() >> 1),
    ((year - 1980) << 9) | (month << 5) | day,
  ];
}

/** A zip of these files. Each is read once for its sum, and again when the zip is. */
export async function zipOf(files: Named[], time = new Date()): Promise<Blob> {
  if (files.length > MOST_FILES) throw new Error(`A zip of ours holds at most ${MOST_FILES} files.`);
  const [parts, directory]: [BlobPart[], BlobPart[]] = [[], []];
  let [at, listed] = [0, 0];
  for (const { name, file } of files) {
    const bytes = new TextEncoder().encode(name);
    const facts = [...dos(time), await crcOf(file), file.size, file.size, bytes.length];
    const local = record("IHHHHHIIIHH", [LOCAL, 20, UTF8, STORED, ...facts, 0]);
    // The version that made it, its extra field and comment, disk, attributes, and where it stands.
    const central = record("IHHHHHHIIIHHHHHII", [CENTRAL, 20, 20, UTF8, STORED, ...facts, 0, 0, 0, 0, 0, at]);
    parts.push(local, bytes, file);
    directory.push(central, bytes);
    at += local.length + bytes.length + file.size;
    listed += central.length + bytes.length;
    if (at + listed > MOST_BYTES) throw new Error("A zip of ours holds at most 4 GiB.");
  }
  const end = record("IHHHHIIH", [END, 0, 0, files.length, files.length, listed, at, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

const bytesOf = async (blob: Blob) => new DataView(await blob.arrayBuffer());

/** The files of a zip, stored or deflated, without its folders. What breaks the format is an error in one sentence. */
export async function unzipped(zip: Blob): Promise<Named[]> {
  const broken = (what: string) => new Error(`This is no zip that can be read: ${what}.`);
  // The end may have a comment of 64 KiB behind it.
  const tail = await bytesOf(zip.slice(Math.max(0, zip.size - END_BYTES - 0xffff)));
  let end = tail.byteLength - END_BYTES;
  while (end >= 0 && tail.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw broken("it has no directory at its end");
  const count = tail.getUint16(end + 10, true);
  const [length, start] = [tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  if (count === MOST_FILES || start === MOST_BYTES)
    throw broken("it is a zip64, of more than 4 GiB or 65,535 files");
  if (start + length > zip.size) throw broken("its directory is cut off");
  const view = await bytesOf(zip.slice(start, start + length));
  const files: Named[] = [];
  let at = 0;
  for (let i = 0; i < count; i += 1) {
    if (at + CENTRAL_BYTES > view.byteLength || view.getUint32(at, true) !== CENTRAL)
      throw broken("its directory is damaged");
    const [method, packed, size] = [
      view.getUint16(at + 10, true),
      view.getUint32(at + 20, true),
      view.getUint32(at + 24, true),
    ];
    const [named, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true)) as [
      number,
      number,
      number,
    ];
    const [flags, crc, from] = [
      view.getUint16(at + 8, true),
      view.getUint32(at + 16, true),
      view.getUint32(at + 42, true),
    ];
    if (at + CENTRAL_BYTES + named > view.byteLength) throw broken("its directory is damaged");
    const name = new TextDecoder().decode(new Uint8Array(view.buffer, at + CENTRAL_BYTES, named));
    at += CENTRAL_BYTES + named + extra + comment;
    if (name.endsWith("/")) continue;
    if (flags & 1) throw broken(`${name} is encrypted`);
    const local = await bytesOf(zip.slice(from, from + LOCAL_BYTES));
    if (local.byteLength < LOCAL_BYTES || local.getUint32(0, true) !== LOCAL)
      throw broken(`${name} is not where it should be`);
    const data = from + LOCAL_BYTES + local.getUint16(26, true) + local.getUint16(28, true);
    if (data + packed > zip.size) throw broken(`${name} is cut off`);
    const part = zip.slice(data, data + packed);
    if (method !== STORED && method !== DEFLATED)
      throw broken(`${name} is packed in a way that is not known (${method})`);
    if (size > MOST_INFLATED) throw broken(`${name} is larger than 4 GiB`);
    const file = method === STORED ? part : await inflated(part, size);
    if (file.size !== size) throw broken(`${name} has another size than its directory says`);
    if ((await crcOf(file)) !== crc) throw broken(`${name} is damaged`);
    files.push({ name, file });
  }
  return files;
}

/** What was deflated; what goes on beyond `size` is cut after a piece. */
async function inflated(part: Blob, size: number): Promise<Blob> {
  const pieces: BlobPart[] = [];
  let got = 0;
  for (const reader = part.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader(); ;) {
    const { done, value } = await reader.read();
    if (done || got > size) break;
    pieces.push(value);
    got += value.length;
  }
  return new Blob(pieces);
}
