import { at, checkField, firstWords, type BatchInput, type Dispatch, type PlanDocument } from "./document";
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

interface Step {
  pipeline: GPUComputePipeline;
  group: GPUBindGroup;
  grid: [number, number, number];
  live: boolean;
}

/** Runs a plan: makes buffers, pipelines and bind groups once, then walks lists of dispatches. No arithmetic about shapes. */
export class Executor {
  /** The first that the device said against a run. */
  private trouble: string | null = null;

  private constructor(
    readonly device: GPUDevice,
    private readonly plan: PlanDocument,
    private readonly buffers: GPUBuffer[],
    private readonly programs: Map<string, Step[]>,
    private readonly live: GPUBuffer,
    private readonly liveGroup: GPUBindGroup,
  ) {
    device.addEventListener("uncapturederror", ({ error }) => {
      this.trouble ??= error.message;
    });
    void device.lost.then(({ message }) => {
      this.trouble ??= `the device is lost: ${message}`;
    });
  }

  /** Makes everything a plan needs. Buffers start as zeros, but for those of the optimiser that the plan begins otherwise. */
  static async open(device: GPUDevice, plan: PlanDocument): Promise<Executor> {
    return checked(device, async () => {
      const make = (label: string, bytes: number, usage: number) =>
        device.createBuffer({ label, size: Math.ceil(Math.max(bytes, 4) / 16) * 16, usage });
      const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
      const uniform = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
      const buffers = plan.buffers.map(({ label, bytes }) => make(label, bytes, storage));
      for (const start of plan.owners.optimizer ?? []) {
        const { bytes } = at(plan.buffers, start.buffer, "buffer");
        device.queue.writeBuffer(at(buffers, start.buffer, "buffer"), 0, firstWords(start, bytes));
      }

      const layout = (label: string, entries: [binding: number, type: GPUBufferBindingType][]) =>
        device.createBindGroupLayout({
          label,
          entries: entries.map(([binding, type]) => ({
            binding,
            visibility: GPUShaderStage.COMPUTE,
            buffer: { type },
          })),
        });
      const live = make("live", 32, uniform);
      const liveLayout = layout("live", [[0, "uniform"]]);
      const liveGroup = device.createBindGroup({
        label: "live",
        layout: liveLayout,
        entries: [{ binding: 0, resource: { buffer: live } }],
      });
      const modules = plan.shaders.map(({ label, text }) => device.createShaderModule({ label, code: text }));
      const kernels = await Promise.all(
        plan.kernels.map(async (kernel, k) => {
          const label = `${kernel.file}.${kernel.entry}`;
          const group = layout(label, [
            ...(kernel.dims ? [[0, "uniform"] as [number, GPUBufferBindingType]] : []),
            ...kernel.bindings.map(({ number, writes }): [number, GPUBufferBindingType] => [
              number,
              writes ? "storage" : "read-only-storage",
            ]),
          ]);
          const pipeline = await device.createComputePipelineAsync({
            label,
            layout: device.createPipelineLayout({
              label,
              bindGroupLayouts: kernel.live ? [group, liveLayout] : [group],
            }),
            compute: {
              module: at(modules, at(plan.modules, k, "module"), "shader"),
              entryPoint: kernel.entry,
              constants: Object.fromEntries(kernel.constants ?? []),
            },
          });
          return { kernel, group, pipeline };
        }),
      );

      const slot = plan.dims_slot;
      const all = Object.values(plan.programs).flat();
      const dims = make("dims", all.length * slot, uniform);
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
          const { buffer, offset, bytes } = at(dispatch.binds, n, "range");
          const resource = { buffer: at(buffers, buffer, "buffer"), offset, size: bytes };
          entries.push({ binding: number, resource });
        });
        return {
          pipeline,
          group: device.createBindGroup({ label: dispatch.label, layout: group, entries }),
          grid: [x, y, z],
          live: kernel.live,
        };
      };
      const programs = new Map<string, Step[]>();
      let next = 0;
      for (const [name, list] of Object.entries(plan.programs))
        programs.set(
          name,
          list.map((dispatch) => step(dispatch, next++)),
        );
      device.queue.writeBuffer(dims, 0, numbers);
      return new Executor(device, plan, buffers, programs, live, liveGroup);
    });
  }

  private find(label: string): { buffer: GPUBuffer; bytes: number } {
    const index = this.plan.buffers.findIndex((buffer) => buffer.label === label);
    if (index < 0) throw new Error(`the plan has no buffer ${label}`);
    return {
      buffer: at(this.buffers, index, "buffer"),
      bytes: at(this.plan.buffers, index, "buffer").bytes,
    };
  }

  /** Puts the tensors of a weights' file where the plan wants them. A teacher's file is that of the folded network. */
  load(owner: "student" | "teacher", tensors: ReadonlyMap<string, Tensor>): void {
    const targets = this.plan.owners[owner];
    if (!targets) throw new Error(`plan.json has no ${owner}`);
    place(targets, tensors, (buffer, offset, data) => {
      this.device.queue.writeBuffer(at(this.buffers, buffer, "buffer"), offset, data);
    });
  }

  /** What a program reads of a batch. */
  inputs(program: string): readonly BatchInput[] {
    return this.plan.inputs[program] ?? [];
  }

  /** Writes the fields of a batch that a program reads; ordered with the runs around it. Others are passed over. */
  write(program: string, fields: Record<string, Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>): void {
    for (const input of this.inputs(program)) {
      const data = fields[input.name];
      if (!data) throw new Error(`program ${program} reads ${input.name}, which the batch does not have`);
      checkField(input, data);
      this.device.queue.writeBuffer(at(this.buffers, input.buffer, "buffer"), 0, data);
    }
  }

  /** Submits a program. */
  run(program: string, live: Live): void {
    const steps = this.programs.get(program);
    if (!steps) throw new Error(`the plan has no program ${program}`);
    this.device.queue.writeBuffer(this.live, 0, words(live));
    const encoder = this.device.createCommandEncoder({ label: program });
    const pass = encoder.beginComputePass({ label: program });
    for (const step of steps) {
      pass.setPipeline(step.pipeline);
      pass.setBindGroup(0, step.group);
      if (step.live) pass.setBindGroup(1, this.liveGroup);
      pass.dispatchWorkgroups(...step.grid);
    }
    pass.end();
    this.device.queue.submit([encoder.finish()]);
  }

  /** Reads a named buffer, after everything submitted before; what the device said against that is thrown here. */
  async read(label: string): Promise<Float32Array<ArrayBuffer>> {
    const { buffer, bytes } = this.find(label);
    const whole = await checked(this.device, () => readBack(this.device, buffer));
    if (this.trouble !== null) throw new Error(`the graphics adapter refuses: ${this.trouble}`);
    return new Float32Array(whole, 0, bytes / 4);
  }

  /** Gives the device's memory back. */
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
  const said = [await device.popErrorScope(), await device.popErrorScope()].find((error) => error !== null);
  if (said) throw new Error(`the graphics adapter refuses: ${said.message}`);
  if (thrown) throw thrown as Error;
  return result as T;
}
