import { TAR_END, tarHeader, tarPadding } from "../src/lib/upload";

/** The files of a zip whose entries are stored, by name; anything else is an error. */
export function unzip(bytes: Buffer): Map<string, Buffer> {
  const end = bytes.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  if (end < 0) throw new Error("no end of central directory");
  let [count, at] = [bytes.readUInt16LE(end + 10), bytes.readUInt32LE(end + 16)];
  const files = new Map<string, Buffer>();
  for (; count > 0; count -= 1) {
    if (bytes.readUInt32LE(at) !== 0x02014b50) throw new Error("no entry of the central directory");
    if (bytes.readUInt16LE(at + 10) !== 0) throw new Error("an entry is compressed");
    const size = bytes.readUInt32LE(at + 20);
    const [name, extra, comment] = [28, 30, 32].map((offset) => bytes.readUInt16LE(at + offset)) as [
      number,
      number,
      number,
    ];
    const local = bytes.readUInt32LE(at + 42);
    const data = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    files.set(bytes.toString("utf8", at + 46, at + 46 + name), bytes.subarray(data, data + size));
    at += 46 + name + extra + comment;
  }
  return files;
}

/** An uncompressed tar of these files. */
export function tar(files: Map<string, Buffer>): Buffer {
  const blocks = [...files].flatMap(([name, data]) => [
    tarHeader(name, data.length),
    data,
    Buffer.alloc(tarPadding(data.length)),
  ]);
  return Buffer.concat([...blocks, Buffer.alloc(TAR_END)]);
}

/** Images and labels in MNIST's format: `count` squares of `size`, of ten classes. */
export function idx(count: number, size: number): { images: Buffer; labels: Buffer } {
  const images = Buffer.alloc(16 + count * size * size);
  [0x803, count, size, size].forEach((value, i) => images.writeUInt32BE(value, 4 * i));
  const labels = Buffer.alloc(8 + count);
  [0x801, count].forEach((value, i) => labels.writeUInt32BE(value, 4 * i));
  for (let image = 0; image < count; image += 1) {
    labels[8 + image] = image % 10;
    for (let pixel = 0; pixel < size * size; pixel += 1)
      images[16 + image * size * size + pixel] = (image % 10) * 25 + (pixel % 5);
  }
  return { images, labels };
}

/** A picture of one colour, as PPM has it. */
export function ppm(width: number, height: number, colour: [number, number, number]): Buffer {
  const pixels = Buffer.alloc(3 * width * height, Buffer.from(colour));
  return Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), pixels]);
}

/** Pictures in a folder for each class: so many of each, of a colour that is the class's own and a shade that is the picture's. */
export function classes(count: number, side: number): Map<string, Buffer> {
  const colours: Record<string, [number, number, number]> = {
    iris: [60, 40, 180],
    lily: [210, 200, 190],
    rose: [190, 30, 50],
  };
  const files = new Map<string, Buffer>();
  for (const [name, [red, green, blue]] of Object.entries(colours))
    for (let n = 0; n < count; n += 1)
      files.set(
        `flowers/${name}/${n}.ppm`,
        ppm(side + (n % 3), side, [red + (n % 40), green + (n % 40), blue + (n % 40)]),
      );
  return files;
}
