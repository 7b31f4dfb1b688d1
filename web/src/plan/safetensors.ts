import { at, type Order, type TensorTarget } from "./document";

/** A tensor of 32-bit floats, as it lies in a file. */
export interface Tensor {
  shape: number[];
  data: Float32Array<ArrayBuffer>;
}

interface Entry {
  dtype?: unknown;
  shape?: unknown;
  data_offsets?: unknown;
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

/** Extents' product. */
export function count(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/**
 * The F32 tensors of a safetensors file: 8 bytes with the length of the header, the header as JSON, the bytes.
 *
 * Every range is held against the file before it is read; tensors of other types are left out.
 */
export function parseSafetensors(file: ArrayBuffer): Map<string, Tensor> {
  const damaged = (what: string) => new Error(`the weights are damaged or of another format: ${what}`);
  if (file.byteLength < 8) throw damaged(`the file has only ${file.byteLength} bytes`);
  const length = Number(new DataView(file).getBigUint64(0, true));
  const start = 8 + length;
  if (start > file.byteLength)
    throw damaged(`the header says it is ${length} bytes long, but the file has ${file.byteLength}`);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(file, 8, length)));
  } catch {
    throw damaged("the header is no JSON");
  }
  if (typeof header !== "object" || header === null || Array.isArray(header))
    throw damaged("the header is no object");

  const tensors = new Map<string, Tensor>();
  for (const [name, entry] of Object.entries(header as Record<string, Entry | null>)) {
    if (name === "__metadata__" || entry?.dtype !== "F32") continue;
    const { shape, data_offsets: range } = entry;
    if (!isCounts(shape) || !isCounts(range)) throw damaged(`tensor ${name} has no shape or no range`);
    const [from, to] = range as [number?, number?];
    if (
      from === undefined ||
      to === undefined ||
      to - from !== 4 * count(shape) ||
      start + to > file.byteLength
    )
      throw damaged(`the range of tensor ${name} does not hold it`);
    // A copy: the header may leave the numbers off a float's boundary.
    tensors.set(name, { shape, data: new Float32Array(file.slice(start + from, start + to)) });
  }
  return tensors;
}

/** Numbers in another order of their axes. */
export function ordered(data: Float32Array<ArrayBuffer>, { view, axes }: Order): Float32Array<ArrayBuffer> {
  const strides = view.map((_, axis) => count(view.slice(axis + 1)));
  if (
    count(view) !== data.length ||
    [...axes].sort().some((axis, k) => axis !== k) ||
    axes.length !== view.length
  )
    throw new Error("plan.json orders a tensor in a way that does not fit it");
  const written = new Float32Array(data.length);
  const extents = axes.map((axis) => at(view, axis, "axis"));
  const steps = axes.map((axis) => at(strides, axis, "axis"));
  const place = axes.map(() => 0);
  let from = 0;
  for (let to = 0; to < written.length; to++) {
    written[to] = data[from] ?? NaN;
    // The next place, the last axis fastest.
    for (let k = axes.length - 1; k >= 0; k--) {
      const next = (place[k] ?? 0) + 1;
      from += steps[k] ?? 0;
      if (next < (extents[k] ?? 0)) {
        place[k] = next;
        break;
      }
      from -= next * (steps[k] ?? 0);
      place[k] = 0;
    }
  }
  return written;
}

/** Hands each tensor that one of the plan's owners wants to `write`, in the plan's order. */
export function place(
  targets: readonly TensorTarget[],
  tensors: ReadonlyMap<string, Tensor>,
  write: (buffer: number, offset: number, data: Float32Array<ArrayBuffer>) => void,
): void {
  for (const { name, shape, buffer, offset, order } of targets) {
    const tensor = tensors.get(name);
    if (!tensor) throw new Error(`the weights have no tensor ${name}`);
    if (tensor.shape.join() !== shape.join())
      throw new Error(`tensor ${name} of the weights has shape [${tensor.shape}], not [${shape}]`);
    write(buffer, offset, order ? ordered(tensor.data, order) : tensor.data);
  }
}
