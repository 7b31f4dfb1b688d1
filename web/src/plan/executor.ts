import {
  at,
  checkField,
  firstWords,
  type BatchInput,
  type Dispatch,
  type Kernel,
  type Mirror,
  type PlanDocument,
} from "./document";
import { place, type Tensor } from "./safetensors";

/** Why nothing can be run here, in a sentence for the page. */
export class NoWebGpu extends Error {}

/** A device that grants what a plan makes use of. */
export async function openDevice(limits: Record<string, number>): Promise<GPUDevice> {
  // Typed as always there; browsers without WebGPU, and pages that are not from a secure origin, have none.
  const gpu = navigator.gpu as GPU | undefined;
  if (!gpu)
    throw new NoWebGpu(
      isSecureContext
        ? "This browser has no WebGPU, which runs the network. Current versions of Chrome, Edge, Safari and Firefox have it."
        : "Browsers allow WebGPU, which runs the network, only on https:// pages and on localhost.",
    );
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter)
    throw new NoWebGpu("This browser has WebGPU, but finds no graphics adapter that it can run on.");
  return adapter.requestDevice({ requiredLimits: limits });
}

/** The numbers that change from step to step: `shaders/lib/step.wgsl`. */
export interface Live {
  seed?: number;
  step?: number;
  /** Valid rows of the batch. */
  rows: number;
  part?: number;
  lr?: number;
  /** The optimiser's step, from 1. */
  t?: number;
  /** What the means of the micro-batch are over, where that is not its rows: labels, or tokens. */
  counted?: number;
  /** The same of the whole batch. */
  total?: number;
}

function words(live: Live): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(32));
  [live.seed ?? 0, live.step ?? 0, live.rows, live.part ?? 0].forEach((n, k) => {
    view.setUint32(4 * k, n, true);
  });
  [live.lr ?? 0, live.t ?? 1, live.counted ?? live.rows, live.total ?? live.rows].forEach((n, k) => {
    view.setFloat32(16 + 4 * k, n, true);
  });
  return view.buffer;
}

/** What the executor takes of a plan. */
export type Runnable = Pick<
  PlanDocument,
  "buffers" | "kernels" | "programs" | "shaders" | "modules" | "dims_slot"
> &
  Partial<Pick<PlanDocument, "owners" | "inputs">> & {
    /** The dispatches after which a submit ends, by program: browsers take the device from who computes for seconds. */
    cuts?: Record<string, number[]>;
    /** Texels of a mirror's row that hold numbers, and from one row to the next; where a plan has textures. */
    texels?: number;
    pitch?: number;
  };

/** What a device says against what it was told, or that it is lost. */
export class DeviceTrouble extends Error {
  constructor(
    readonly kind: "lost" | "memory" | "rejected",
    message: string,
  ) {
    super(message);
  }
}

/** A compiled entry point. */
interface Pipeline {
  pipeline: GPUComputePipeline;
  group: GPUBindGroupLayout;
}

const FORMATS = { f32: "rgba32float", f16: "rgba16float" } as const;
/** Bytes of a texel. */
const TEXEL = { f32: 16, f16: 8 } as const;

/** The pipelines of a device, each compiled once for all plans that run there. */
export class Pipelines {
  private readonly modules = new Map<string, GPUShaderModule>();
  private readonly made = new Map<string, Promise<Pipeline>>();
  /** Of the uniform of the step's numbers. */
  readonly live: GPUBindGroupLayout;

  constructor(readonly device: GPUDevice) {
    this.live = this.layout("live", [{ binding: 0, buffer: { type: "uniform" } }]);
  }

  private layout(label: string, entries: Omit<GPUBindGroupLayoutEntry, "visibility">[]): GPUBindGroupLayout {
    const seen = entries.map((entry) => ({ ...entry, visibility: GPUShaderStage.COMPUTE }));
    return this.device.createBindGroupLayout({ label, entries: seen });
  }

  private module(label: string, code: string): GPUShaderModule {
    let module = this.modules.get(code);
    if (!module) this.modules.set(code, (module = this.device.createShaderModule({ label, code })));
    return module;
  }

  /** The pipeline of a kernel whose linked shader this is. */
  of(kernel: Kernel, shader: { label: string; text: string }): Promise<Pipeline> {
    const key = `${JSON.stringify(kernel)}\n${shader.text}`;
    let made = this.made.get(key);
    if (!made) {
      made = this.compile(kernel, shader);
      this.made.set(key, made);
      made.catch(() => this.made.delete(key));
    }
    return made;
  }

  private async compile(kernel: Kernel, shader: { label: string; text: string }): Promise<Pipeline> {
    const label = `${kernel.file}.${kernel.entry}`;
    const group = this.layout(label, [
      ...(kernel.dims ? [{ binding: 0, buffer: { type: "uniform" as const } }] : []),
      ...kernel.bindings.map(({ number: binding, writes, texture, storage }) =>
        texture
          ? { binding, storageTexture: { access: "read-only" as const, format: FORMATS[storage ?? "f32"] } }
          : { binding, buffer: { type: writes ? ("storage" as const) : ("read-only-storage" as const) } },
      ),
    ]);
    const pipeline = await this.device.createComputePipelineAsync({
      label,
      layout: this.device.createPipelineLayout({
        label,
        bindGroupLayouts: kernel.live ? [group, this.live] : [group],
      }),
      compute: {
        module: this.module(shader.label, shader.text),
        entryPoint: kernel.entry,
        constants: Object.fromEntries(kernel.constants ?? []),
      },
    });
    return { pipeline, group };
  }
}

/** A copy of a tensor into a texture. */
interface Copy {
  from: GPUTexelCopyBufferInfo;
  to: GPUTexelCopyTextureInfo;
  size: [number, number];
}

interface Step {
  /** To be made before it runs. */
  copies: Copy[];
  pipeline: GPUComputePipeline;
  group: GPUBindGroup;
  grid: [number, number, number];
  live: boolean;
}

/** Metrics that are being read back. */
interface Flying {
  tag: number;
  buffer: GPUBuffer;
  /** Whether they have arrived. */
  there: boolean;
  arrival: Promise<void>;
}

/** Submits that may be under way before the oldest is waited for. */
const IN_FLIGHT = 8;

/** Runs a plan: makes buffers, pipelines and bind groups once, then walks lists of dispatches. No arithmetic about shapes. */
export class Executor {
  /** The first that the device said against a run. */
  private trouble: DeviceTrouble | null = null;
  private readonly flying: Flying[] = [];
  private readonly idle: GPUBuffer[] = [];
  private readonly hear = ({ error }: GPUUncapturedErrorEvent): void => {
    this.trouble ??= new DeviceTrouble(
      error instanceof GPUOutOfMemoryError ? "memory" : "rejected",
      error.message,
    );
  };

  private constructor(
    readonly device: GPUDevice,
    private readonly plan: Runnable,
    /** Buffers and textures, as the plan counts them. */
    private readonly memory: (GPUBuffer | GPUTexture)[],
    /** The pieces of each program that are submitted one by one. */
    private readonly programs: Map<string, Step[][]>,
    private readonly live: GPUBuffer,
    private readonly liveGroup: GPUBindGroup,
    private readonly dims: GPUBuffer,
  ) {
    device.addEventListener("uncapturederror", this.hear);
    void device.lost.then(({ message }) => {
      this.trouble = new DeviceTrouble("lost", message || "the browser gave no reason");
    });
  }

  /** Makes everything a plan needs. Buffers start as zeros, but for those of the optimiser that the plan begins otherwise. */
  static async open(
    device: GPUDevice,
    plan: Runnable,
    pipelines: Pipelines = new Pipelines(device),
  ): Promise<Executor> {
    const made: (GPUBuffer | GPUTexture)[] = [];
    try {
      return await checked(device, () => Executor.make(device, plan, pipelines, made));
    } catch (error) {
      for (const one of made) one.destroy();
      throw error;
    }
  }

  private static async make(
    device: GPUDevice,
    plan: Runnable,
    pipelines: Pipelines,
    made: (GPUBuffer | GPUTexture)[],
  ): Promise<Executor> {
    const make = (label: string, bytes: number, usage: number) => {
      const buffer = device.createBuffer({ label, size: Math.ceil(Math.max(bytes, 4) / 16) * 16, usage });
      made.push(buffer);
      return buffer;
    };
    const { texels = 0, pitch = 0 } = plan;
    const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const uniform = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    const memory = plan.buffers.map(({ label, bytes, texture, storage: kind }) => {
      if (!texture) return make(label, bytes, storage);
      const mirror = device.createTexture({
        label,
        size: [pitch, bytes / (pitch * TEXEL[kind ?? "f32"])],
        format: FORMATS[kind ?? "f32"],
        usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_DST,
      });
      made.push(mirror);
      return mirror;
    });
    const buffer = (index: number): GPUBuffer => {
      const found = at(memory, index, "buffer");
      if (found instanceof GPUTexture) throw new Error(`buffer ${index} of the plan is a texture`);
      return found;
    };
    for (const start of plan.owners?.optimizer ?? []) {
      const { bytes } = at(plan.buffers, start.buffer, "buffer");
      device.queue.writeBuffer(buffer(start.buffer), 0, firstWords(start, bytes));
    }

    const live = make("live", 32, uniform);
    const liveGroup = device.createBindGroup({
      label: "live",
      layout: pipelines.live,
      entries: [{ binding: 0, resource: { buffer: live } }],
    });
    const kernels = await Promise.all(
      plan.kernels.map(async (kernel, k) => ({
        kernel,
        ...(await pipelines.of(kernel, at(plan.shaders, at(plan.modules, k, "module"), "shader"))),
      })),
    );

    /** Whole rows of a mirror, then what is left. */
    const copies = ({ from, to }: Mirror): Copy[] => {
      const texture = at(memory, to, "texture");
      if (!(texture instanceof GPUTexture)) throw new Error(`buffer ${to} of the plan is no texture`);
      const bytes = TEXEL[at(plan.buffers, to, "texture").storage ?? "f32"];
      const all = Math.ceil(from.bytes / bytes);
      const [rows, rest] = [Math.floor(all / texels), all % texels];
      const part = (row: number, width: number, height: number): Copy => ({
        from: {
          buffer: buffer(from.buffer),
          offset: from.offset + row * texels * bytes,
          bytesPerRow: texels * bytes,
        },
        to: { texture, origin: [0, row] },
        size: [width, height],
      });
      return [...(rows > 0 ? [part(0, texels, rows)] : []), ...(rest > 0 ? [part(rows, rest, 1)] : [])];
    };

    const slot = plan.dims_slot;
    const count = Object.values(plan.programs).reduce((sum, list) => sum + list.length, 0);
    const dims = make("dims", count * slot, uniform);
    const numbers = new Uint32Array(dims.size / 4);
    const step = (dispatch: Dispatch, k: number): Step => {
      const { kernel, group, pipeline } = at(kernels, dispatch.kernel, "kernel");
      numbers.set(dispatch.dims, (k * slot) / 4);
      // JSON's schema knows three numbers, TypeScript only a list.
      const [x = 1, y = 1, z = 1] = dispatch.grid;
      const entries: GPUBindGroupEntry[] = kernel.dims
        ? [{ binding: 0, resource: { buffer: dims, offset: k * slot, size: slot } }]
        : [];
      kernel.bindings.forEach(({ number }, n) => {
        const { buffer: index, offset, bytes } = at(dispatch.binds, n, "range");
        const bound = at(memory, index, "buffer");
        const resource =
          bound instanceof GPUTexture ? bound.createView() : { buffer: bound, offset, size: bytes };
        entries.push({ binding: number, resource });
      });
      return {
        copies: (dispatch.mirrors ?? []).flatMap(copies),
        pipeline,
        group: device.createBindGroup({ label: dispatch.label, layout: group, entries }),
        grid: [x, y, z],
        live: kernel.live,
      };
    };
    const programs = new Map<string, Step[][]>();
    let next = 0;
    for (const [name, list] of Object.entries(plan.programs)) {
      const steps = list.map((dispatch) => step(dispatch, next++));
      const ends = [...(plan.cuts?.[name] ?? []).map((end) => end + 1), steps.length];
      const pieces = ends.map((end, n) => steps.slice(ends[n - 1] ?? 0, end));
      programs.set(
        name,
        pieces.filter((piece) => piece.length > 0),
      );
    }
    device.queue.writeBuffer(dims, 0, numbers);
    return new Executor(device, plan, memory, programs, live, liveGroup, dims);
  }

  private at(index: number): GPUBuffer {
    const found = at(this.memory, index, "buffer");
    if (found instanceof GPUTexture) throw new Error(`buffer ${index} of the plan is a texture`);
    return found;
  }

  private index(label: string): number {
    const index = this.plan.buffers.findIndex((buffer) => buffer.label === label);
    if (index < 0) throw new Error(`the plan has no buffer ${label}`);
    return index;
  }

  /** Puts the tensors of a weights' file where the plan wants them. A teacher's file is that of the folded network. */
  load(owner: "student" | "teacher", tensors: ReadonlyMap<string, Tensor>): void {
    const targets = this.plan.owners?.[owner];
    if (!targets) throw new Error(`plan.json has no ${owner}`);
    place(targets, tensors, (buffer, offset, data) => {
      this.device.queue.writeBuffer(this.at(buffer), offset, data);
    });
  }

  /** What a program reads of a batch. */
  inputs(program: string): readonly BatchInput[] {
    return this.plan.inputs?.[program] ?? [];
  }

  /** Writes the fields of a batch that a program reads; ordered with the runs around it. Others are passed over. */
  write(program: string, fields: Record<string, Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>): void {
    for (const input of this.inputs(program)) {
      const data = fields[input.name];
      if (!data) throw new Error(`program ${program} reads ${input.name}, which the batch does not have`);
      checkField(input, data);
      this.writeAt(input.buffer, data);
    }
  }

  /** Writes into a buffer from its first byte on. */
  writeAt(
    buffer: number,
    data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>,
  ): void {
    this.device.queue.writeBuffer(this.at(buffer), 0, data);
  }

  private pieces(program: string): Step[][] {
    const pieces = this.programs.get(program);
    if (!pieces) throw new Error(`the plan has no program ${program}`);
    return pieces;
  }

  /** Submits a piece of a program, and `last` behind it. A pass ends where copies are to be made. */
  private piece(program: string, steps: Step[], last?: (encoder: GPUCommandEncoder) => void): void {
    const encoder = this.device.createCommandEncoder({ label: program });
    let pass: GPUComputePassEncoder | null = null;
    for (const step of steps) {
      if (step.copies.length > 0) {
        pass?.end();
        pass = null;
        for (const { from, to, size } of step.copies) encoder.copyBufferToTexture(from, to, size);
      }
      pass ??= encoder.beginComputePass({ label: program });
      pass.setPipeline(step.pipeline);
      pass.setBindGroup(0, step.group);
      if (step.live) pass.setBindGroup(1, this.liveGroup);
      pass.dispatchWorkgroups(...step.grid);
    }
    pass?.end();
    last?.(encoder);
    this.device.queue.submit([encoder.finish()]);
  }

  /** Submits a program. */
  run(program: string, live: Live): void {
    this.device.queue.writeBuffer(this.live, 0, words(live));
    for (const steps of this.pieces(program)) this.piece(program, steps);
  }

  /**
   * Submits a program with its numbers as they lie in the uniform, and has its metrics read back under a tag, if there is one.
   * Waits while too much is under way; the bits are those of one submit.
   */
  async submit(program: string, live: Uint8Array<ArrayBuffer>, tag?: number): Promise<void> {
    const index = tag === undefined ? -1 : this.plan.buffers.findIndex(({ label }) => label === "metrics");
    const pieces = this.pieces(program);
    this.check();
    const [oldest] = this.flying;
    if (index >= 0 && this.flying.filter(({ there }) => !there).length >= IN_FLIGHT && oldest)
      await this.arrived(oldest.arrival);
    this.device.queue.writeBuffer(this.live, 0, live);
    let before: Promise<unknown> | null = null;
    const last = pieces.length - 1;
    for (const [n, steps] of pieces.entries()) {
      if (n < last || index < 0 || tag === undefined) this.piece(program, steps);
      else this.readBack(program, steps, index, tag);
      if (n === last) break;
      // The device always has the next piece, and no queue of seconds builds up.
      const done = this.device.queue.onSubmittedWorkDone();
      if (before) await before;
      before = done;
    }
    this.check();
  }

  /** Submits the last piece of a program, and begins to read its metrics. */
  private readBack(program: string, steps: Step[], index: number, tag: number): void {
    const from = this.at(index);
    const to =
      this.idle.pop() ??
      this.device.createBuffer({
        label: "metrics",
        size: from.size,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      });
    this.piece(program, steps, (encoder) => {
      encoder.copyBufferToBuffer(from, 0, to, 0, from.size);
    });
    const flying: Flying = { tag, buffer: to, there: false, arrival: Promise.resolve() };
    flying.arrival = to.mapAsync(GPUMapMode.READ).then(() => {
      flying.there = true;
    });
    // Who waits for it hears of a failure.
    flying.arrival.catch(() => undefined);
    this.flying.push(flying);
  }

  /** Waits; a device that is lost makes that fail, and says so a moment later. */
  private async arrived(arrival: Promise<unknown>): Promise<void> {
    try {
      await arrival;
    } catch (error) {
      await Promise.race([this.device.lost, new Promise((done) => setTimeout(done, 1000))]);
      this.check();
      throw error;
    }
  }

  /** Metrics that have arrived, oldest first; all that are under way, if they are waited for. */
  async metrics(all: boolean): Promise<{ tag: number; values: Float32Array<ArrayBuffer> }[]> {
    if (all) for (const { arrival } of this.flying) await this.arrived(arrival);
    this.check();
    const done = [];
    while (this.flying[0]?.there) {
      const { tag, buffer } = this.flying.shift() as Flying;
      done.push({ tag, values: new Float32Array(buffer.getMappedRange().slice(0)) });
      buffer.unmap();
      this.idle.push(buffer);
    }
    return done;
  }

  /** Throws what the device said since the last call. A lost device stays lost. */
  private check(): void {
    const said = this.trouble;
    if (!said) return;
    if (said.kind !== "lost") this.trouble = null;
    throw said;
  }

  /** Reads a named buffer, after everything submitted before; what the device said against that is thrown here. */
  async read(label: string): Promise<Float32Array<ArrayBuffer>> {
    return this.readAt(this.index(label));
  }

  /** [`read`] of a buffer by its index. */
  async readAt(index: number): Promise<Float32Array<ArrayBuffer>> {
    const { bytes } = at(this.plan.buffers, index, "buffer");
    let whole = new ArrayBuffer(0);
    await this.arrived(
      checked(this.device, async () => {
        whole = await readBack(this.device, this.at(index));
      }),
    );
    if (this.trouble)
      throw new DeviceTrouble(this.trouble.kind, `the graphics adapter refuses: ${this.trouble.message}`);
    return new Float32Array(whole, 0, bytes / 4);
  }

  /** Gives back the memory of this plan. */
  free(): void {
    this.device.removeEventListener("uncapturederror", this.hear);
    for (const one of [...this.memory, this.live, this.dims, ...this.idle]) one.destroy();
    for (const { buffer } of this.flying) buffer.destroy();
  }

  /** Gives all of the device's memory back. */
  destroy(): void {
    this.device.destroy();
  }
}

/** The bytes of a buffer. */
export async function readBack(device: GPUDevice, from: GPUBuffer): Promise<ArrayBuffer> {
  const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
  const to = device.createBuffer({ label: "read back", size: from.size, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(from, 0, to, 0, from.size);
  device.queue.submit([encoder.finish()]);
  await to.mapAsync(GPUMapMode.READ);
  const bytes = to.getMappedRange().slice(0);
  to.destroy();
  return bytes;
}

/** What the device says against what `work` does, as an error. */
export async function checked<T>(device: GPUDevice, work: () => Promise<T>): Promise<T> {
  device.pushErrorScope("out-of-memory");
  device.pushErrorScope("validation");
  let result: T | undefined;
  let thrown: unknown;
  try {
    result = await work();
  } catch (error) {
    thrown = error ?? new Error("unknown");
  }
  const [rejected, memory] = await Promise.all([device.popErrorScope(), device.popErrorScope()]);
  const said = rejected ?? memory;
  if (said)
    throw new DeviceTrouble(
      rejected ? "rejected" : "memory",
      `the graphics adapter refuses: ${said.message}`,
    );
  if (thrown) throw thrown as Error;
  return result as T;
}
