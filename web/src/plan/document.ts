/** `plan.json`, as `engine/src/formats/plan.rs` writes it: the parts that running it takes. */
export interface PortablePlan {
  version: number;
  /** What the device must grant, by WebGPU's names. */
  limits: Record<string, number>;
  dims_slot: number;
  shaders: { label: string; text: string }[];
  /** Index in `shaders` of each kernel. */
  modules: number[];
  tensors: Place[];
  fills: { buffer: number; word: number }[];
  plan: {
    kernels: Kernel[];
    buffers: { label: string; bytes: number; texture?: boolean }[];
    programs: Record<string, Dispatch[]>;
  };
}

export interface Kernel {
  file: string;
  entry: string;
  constants?: [name: string, value: number][];
  bindings: { number: number; writes: boolean }[];
  dims: boolean;
  live: boolean;
}

export interface Dispatch {
  kernel: number;
  label: string;
  binds: { buffer: number; offset: number; bytes: number }[];
  dims: number[];
  grid: [number, number, number];
}

/** Where a tensor of the weights' file goes. */
export interface Place {
  name: string;
  shape: number[];
  buffer: number;
  /** First byte. */
  offset: number;
  order?: Order;
}

/** The file's numbers are seen as extents `view` and written axis by axis: `axes[0]` of them slowest. */
export interface Order {
  view: number[];
  axes: number[];
}

/** The form that this page can run. */
const VERSION = 1;

/** A plan from JSON; what it refers to is checked where it is used. */
export function parsePlan(json: unknown): PortablePlan {
  const plan = json as Partial<PortablePlan> | null;
  if (typeof plan !== "object" || plan === null || typeof plan.version !== "number" || !plan.plan)
    throw new Error("plan.json is damaged or of another format");
  if (plan.version !== VERSION)
    throw new Error(`plan.json has version ${plan.version}, this page runs version ${VERSION}`);
  if (plan.plan.buffers.some((buffer) => buffer.texture))
    throw new Error("plan.json was compiled for a software adapter, not for a browser");
  return plan as PortablePlan;
}

/** An entry that must be there: plans speak of others by index. */
export function at<T>(list: readonly T[], index: number, what: string): T {
  const found = list[index];
  if (found === undefined) throw new Error(`plan.json speaks of ${what} ${index}, which it does not have`);
  return found;
}
