import type { ImageModel } from "../api/types";
import { checked, readBack } from "./executor";

/** What is done to a picture before the network: the part of a model's `config.json` that this page takes. */
export type ModelConfig = Omit<ImageModel, "architecture" | "model" | "widened">;

/** A picture: bytes in (height, width, channels) order, channels fastest. */
export interface Image {
  height: number;
  width: number;
  channels: number;
  pixels: Uint8Array;
}

/** The widest and tallest picture that is decoded, as in `engine/train/src/data/image.rs`. */
const MAX_SIDE = 16_384;
/** The most pixels, so that four bytes of each are 256 MiB. */
const MAX_PIXELS = 64 << 20;
/** Height and width of the parts in which a picture passes through the device. */
const TILE = 2048;

/**
 * A JPEG's bytes without what cameras say of it: the browser would turn the picture by it, while `taper predict`, as PyTorch's
 * loaders, takes the pixels as they are stored.
 */
export function withoutExif(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4 || view.getUint16(0) !== 0xffd8) return [bytes];
  const kept = [bytes.subarray(0, 2)];
  let at = 2;
  // Segments begin with 0xff, a marker and a length; the first scan (0xda) ends them.
  while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda) {
    const end = at + 2 + view.getUint16(at + 2);
    if (bytes[at + 1] !== 0xe1) kept.push(bytes.subarray(at, end));
    at = Math.max(end, at + 4);
  }
  return [...kept, bytes.subarray(at)];
}

/** The same of a WebP: its chunk of that name gets one that no decoder knows. */
export function withoutWebpExif(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  // Chunks stand behind `RIFF`, a length and `WEBP`: a name, a length, as many bytes and one more after an odd number.
  for (let at = 12; at + 8 <= copy.length;) {
    if (ascii(copy, at) === "EXIF") copy.set([0x78, 0x78, 0x78, 0x78], at);
    const length = view.getUint32(at + 4, true);
    at += 8 + length + (length % 2);
  }
  return copy;
}

const ascii = (bytes: Uint8Array, at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));

/** The kind of a picture, told by how its file begins as in `engine/train/src/data/image.rs`; none for what is no picture. */
export function kindOf(
  bytes: Uint8Array,
): "JPEG" | "PNG" | "WebP" | "BMP" | "TIFF" | "PPM or PGM" | undefined {
  const first = ascii(bytes, 0);
  if (first.startsWith("\xff\xd8\xff")) return "JPEG";
  if (first === "\x89PNG") return "PNG";
  if (first === "RIFF" && ascii(bytes, 8) === "WEBP") return "WebP";
  if (/^(II[*+]\0|MM\0[*+])/.test(first)) return "TIFF";
  if (/^P[1-6]/.test(first)) return "PPM or PGM";
  return first.startsWith("BM") ? "BMP" : undefined;
}

/** The kinds that browsers decode, with what is kept of their bytes. */
const KINDS = {
  JPEG: { type: "image/jpeg", parts: withoutExif },
  PNG: { type: "image/png", parts: (bytes: Uint8Array<ArrayBuffer>) => [bytes] },
  WebP: { type: "image/webp", parts: (bytes: Uint8Array<ArrayBuffer>) => [withoutWebpExif(bytes)] },
  BMP: { type: "image/bmp", parts: (bytes: Uint8Array<ArrayBuffer>) => [bytes] },
};

/** What a file is picked by. */
export const ACCEPTED = Object.values(KINDS)
  .map((kind) => kind.type)
  .join(",");

/** Decodes a JPEG, PNG, WebP or BMP to the RGB bytes that its file holds: no colour management, no turning, no alpha. */
export async function decode(file: Blob, device: GPUDevice): Promise<Image> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const kind = kindOf(bytes);
  if (!kind) throw new Error("This is no JPEG, PNG, WebP or BMP.");
  if (kind === "TIFF" || kind === "PPM or PGM")
    throw new Error(`Browsers decode no ${kind}; \`taper predict\` does.`);
  let bitmap: ImageBitmap;
  try {
    const how: ImageBitmapOptions = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    const { type, parts } = KINDS[kind];
    bitmap = await createImageBitmap(new Blob(parts(bytes), { type }), how);
  } catch {
    throw new Error("The browser cannot decode this picture.");
  }
  try {
    const { height, width } = bitmap;
    if (height > MAX_SIDE || width > MAX_SIDE || height * width > MAX_PIXELS)
      throw new Error(`${width} × ${height} pixels are more than this page takes.`);
    const pixels = new Uint8Array(height * width * 3);
    for (let top = 0; top < height; top += TILE)
      for (let left = 0; left < width; left += TILE) await readTile(device, bitmap, top, left, pixels);
    return { height, width, channels: 3, pixels };
  } finally {
    bitmap.close();
  }
}

/**
 * The RGB bytes of one part of a picture, by way of a texture: a canvas would multiply colours by alpha and lose bits of them.
 */
async function readTile(
  device: GPUDevice,
  bitmap: ImageBitmap,
  top: number,
  left: number,
  pixels: Uint8Array,
): Promise<void> {
  const size = { width: Math.min(TILE, bitmap.width - left), height: Math.min(TILE, bitmap.height - top) };
  const row = Math.ceil((size.width * 4) / 256) * 256;
  const bytes = await checked(device, async () => {
    const { COPY_SRC, COPY_DST, RENDER_ATTACHMENT } = GPUTextureUsage;
    const usage = COPY_SRC | COPY_DST | RENDER_ATTACHMENT;
    const texture = device.createTexture({ label: "picture", size, format: "rgba8unorm", usage });
    const source = { source: bitmap, origin: { x: left, y: top } };
    device.queue.copyExternalImageToTexture(source, { texture, premultipliedAlpha: false }, size);
    const buffer = device.createBuffer({
      label: "picture",
      size: row * size.height,
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
    });
    const encoder = device.createCommandEncoder();
    encoder.copyTextureToBuffer({ texture }, { buffer, bytesPerRow: row }, size);
    device.queue.submit([encoder.finish()]);
    const read = await readBack(device, buffer);
    texture.destroy();
    buffer.destroy();
    return new Uint8Array(read);
  });
  for (let y = 0; y < size.height; y++)
    for (let x = 0; x < size.width; x++) {
      const [from, to] = [y * row + 4 * x, 3 * ((top + y) * bitmap.width + left + x)];
      for (let c = 0; c < 3; c++) pixels[to + c] = bytes[from + c] ?? 0;
    }
}

/** The same picture with `channels` channels: colour becomes luma as in Pillow (ITU-R 601). */
export function withChannels(image: Image, channels: number): Image {
  if (image.channels === channels) return image;
  if (image.channels !== 3 || channels !== 1)
    throw new Error(`a picture of ${image.channels} channels for a network that reads ${channels}`);
  const pixels = new Uint8Array(image.height * image.width);
  const byte = (at: number) => image.pixels[at] ?? 0;
  for (let k = 0; k < pixels.length; k++)
    pixels[k] = (byte(3 * k) * 19_595 + byte(3 * k + 1) * 38_470 + byte(3 * k + 2) * 7_471 + 0x8000) >> 16;
  return { ...image, channels, pixels };
}

/** To the nearest whole number, halves to the even one. */
function roundTiesEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

interface Window {
  top: number;
  left: number;
  height: number;
  width: number;
}

/** Resize and centre crop to the network's size, still bytes; as `frame` of `engine/train/src/data/transform.rs`. */
export function frame(image: Image, config: Pick<ModelConfig, "size" | "crop" | "interpolation">): Image {
  const { height, width } = image;
  const { size, crop, interpolation } = config;
  if (height === size && width === size && crop === 1) return image;
  // The longer side keeps the aspect, rounded down as in torchvision.
  const short = Math.round(size / crop);
  const least = Math.min(height, width);
  const full: [number, number] = [Math.floor((short * height) / least), Math.floor((short * width) / least)];
  const middle = (extent: number) => roundTiesEven((extent - size) / 2);
  const window = { top: middle(full[0]), left: middle(full[1]), height: size, width: size };
  return resize(image, full, window, interpolation);
}

interface Taps {
  first: number;
  weights: Float32Array;
}

/**
 * `image` resized to (height, width) = `full`, of which only `window` is computed, with the roundings of `resize` there.
 *
 * Bilinear widens its triangle by the factor of shrinking (antialiasing), as PIL and torchvision do; area weighs each source pixel
 * by its overlap with the target pixel.
 */
export function resize(
  image: Image,
  full: [height: number, width: number],
  window: Window,
  how: ModelConfig["interpolation"],
): Image {
  const { channels } = image;
  const rows = taps(image.height, full[0], window.top, window.height, how);
  const columns = taps(image.width, full[1], window.left, window.width, how);
  const first = Math.min(...rows.map((row) => row.first));
  const end = Math.max(...rows.map((row) => row.first + row.weights.length));
  /** Σ of the weights and every `step`th of `numbers` from `from` on, each step rounded to 32 bits. */
  const weigh = (weights: Float32Array, numbers: Uint8Array | Float32Array, from: number, step: number) => {
    let sum = 0;
    for (let k = 0; k < weights.length; k++)
      sum = Math.fround(sum + Math.fround((weights[k] ?? 0) * (numbers[from + k * step] ?? 0)));
    return sum;
  };

  // Across first, only for the source rows that are read: (end − first, window.width, channels).
  const stride = window.width * channels;
  const across = new Float32Array((end - first) * stride);
  for (let y = first; y < end; y++)
    columns.forEach((column, x) => {
      for (let channel = 0; channel < channels; channel++) {
        const from = (y * image.width + column.first) * channels + channel;
        across[(y - first) * stride + x * channels + channel] = weigh(
          column.weights,
          image.pixels,
          from,
          channels,
        );
      }
    });
  const pixels = new Uint8Array(window.height * stride);
  rows.forEach((row, y) => {
    for (let x = 0; x < stride; x++) {
      const sum = weigh(row.weights, across, (row.first - first) * stride + x, stride);
      pixels[y * stride + x] = Math.floor(Math.min(Math.max(Math.fround(sum + 0.5), 0), 255));
    }
  });
  return { height: window.height, width: window.width, channels, pixels };
}

/** The source pixels that the targets `start` to `start + count` read when `from` pixels become `to`. */
function taps(
  from: number,
  to: number,
  start: number,
  count: number,
  how: ModelConfig["interpolation"],
): Taps[] {
  const scale = from / to;
  return Array.from({ length: count }, (_, k) => {
    const target = start + k;
    let low: number, high: number, weight: (pixel: number) => number;
    if (how === "bilinear") {
      const centre = (target + 0.5) * scale;
      const support = Math.max(scale, 1);
      [low, high] = [centre - support, centre + support];
      weight = (pixel) => Math.max(1 - Math.abs((pixel + 0.5 - centre) / support), 0);
    } else {
      const [left, right] = [target * scale, (target + 1) * scale];
      [low, high] = [left, right];
      weight = (pixel) => Math.max(Math.min(pixel + 1, right) - Math.max(pixel, left), 0);
    }
    const first = Math.min(Math.max(Math.floor(low), 0), from - 1);
    const end = Math.min(Math.max(Math.ceil(high), first + 1), from);
    const weights = Array.from({ length: end - first }, (_, n) => weight(first + n));
    const sum = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: Float32Array.from(weights, (weight) => weight / sum) };
  });
}

/** A framed picture as the network's input: (byte / 255 − mean) / std, channels fastest. */
export function normalise(
  image: Image,
  { mean, std }: Pick<ModelConfig, "mean" | "std">,
): Float32Array<ArrayBuffer> {
  const { channels, pixels } = image;
  return Float32Array.from(
    pixels,
    (byte, k) => (byte / 255 - (mean[k % channels] ?? 0)) / (std[k % channels] ?? 1),
  );
}
