import type { components } from "../generated/api";

type Schemas = components["schemas"];

/** `plan.json`, as the engine says it. */
export type PlanDocument = Schemas["PlanDocument"];
export type Dispatch = Schemas["Dispatch"];
export type Kernel = Schemas["KernelSpec"];
/** A copy of a tensor into a texture. */
export type Mirror = Schemas["Mirror"];
/** How the axes of a tensor in the weights' file are put in order. */
export type Order = Schemas["Order"];
/** Where a tensor of the weights' file goes. */
export type TensorTarget = Schemas["TensorTarget"];
/** How a buffer begins. */
export type BufferStart = Schemas["BufferStart"];
/** A field of a batch that a program reads. */
export type BatchInput = Schemas["BatchInput"];

/** The form that this page can run. */
const VERSION = 2;

/** A plan from JSON; what it refers to is checked where it is used. */
export function parsePlan(json: unknown): PlanDocument {
  const plan = json as Partial<PlanDocument> | null;
  if (typeof plan !== "object" || plan === null || typeof plan.version !== "number")
    throw new Error("plan.json is damaged or of another format");
  if (plan.version !== VERSION)
    throw new Error(
      `plan.json has version ${plan.version}, this page runs version ${VERSION}: export the model again`,
    );
  if (!plan.buffers || !plan.owners) throw new Error("plan.json is damaged or of another format");
  if (plan.buffers.some((buffer) => buffer.texture))
    throw new Error("plan.json was compiled for a software adapter, not for a browser");
  return plan as PlanDocument;
}

/** The entry at an index. Plans refer to entries by index, so it must exist. */
export function at<T>(list: readonly T[], index: number, what: string): T {
  const found = list[index];
  if (found === undefined) throw new Error(`plan.json speaks of ${what} ${index}, which it does not have`);
  return found;
}

/** The words that a buffer of `bytes` begins with. */
export function firstWords({ runs }: BufferStart, bytes: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(bytes / 4);
  let end = 0;
  for (const { word, count } of runs) {
    if (end + count > words.length) throw new Error("plan.json begins a buffer with more than it holds");
    words.fill(word, end, (end += count));
  }
  return words;
}

/** Throws where a field is not what an input takes. */
export function checkField({ name, shape, kind }: BatchInput, data: Float32Array | Uint32Array): void {
  const wanted = shape.reduce((product, extent) => product * extent, 1);
  const given = data instanceof Float32Array ? "f32" : "u32";
  if (given !== kind || data.length !== wanted)
    throw new Error(`input ${name} takes ${wanted} numbers of ${kind}, not ${data.length} of ${given}`);
}
