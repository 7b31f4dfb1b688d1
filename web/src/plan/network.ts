import { parsePlan } from "./document";
import { Executor, openDevice } from "./executor";
import { parseSafetensors } from "./safetensors";

/** Where a file is: its address, or how it is got where it has none. */
export type Place = string | (() => Promise<Blob>);

/** Where the files of a model are. */
export interface Source {
  /** `plan.json`. */
  plan: Place;
  /** `model.safetensors`. */
  weights: Place;
  /** `config.json`. */
  config: Place;
  /** `tokenizer.json`, which a model on text has. */
  tokenizer: Place;
}

/** An output with its probability. */
export interface Likely {
  label: string;
  index: number;
  probability: number;
}

/** A file of the model; the server's sentence where it has none. */
export async function get(url: Place): Promise<Response> {
  if (typeof url !== "string") return new Response(await url());
  const response = await fetch(url);
  if (response.ok) return response;
  const text = await response.text();
  let message: unknown;
  try {
    message = (JSON.parse(text) as { message?: unknown } | null)?.message;
  } catch {
    // Something in between answered.
  }
  throw new Error(
    typeof message === "string" ? message : `The server answers ${response.status} for ${url}.`,
  );
}

const EVALUATE = "evaluate";
/** What outputs are compared with in a test: none of it is known here, and only the logits are read. */
const TARGETS = new Set(["labels", "next", "starts", "ends"]);

/** A trained network on this browser's device, for one sample at a time. */
export class Network {
  private constructor(private readonly executor: Executor) {}

  /** Fetches a network and makes it ready. */
  static async open({ plan: of, weights: from }: Pick<Source, "plan" | "weights">): Promise<Network> {
    const [plan, weights] = await Promise.all([
      get(of).then(async (response) => parsePlan(await response.json())),
      get(from).then(async (response) => parseSafetensors(await response.arrayBuffer())),
    ]);
    const device = await openDevice(plan.limits);
    try {
      const executor = await Executor.open(device, plan);
      executor.load("student", weights);
      return new Network(executor);
    } catch (error) {
      device.destroy();
      throw error;
    }
  }

  get device(): GPUDevice {
    return this.executor.device;
  }

  /** How many numbers a sample has of an input; 0 of what is not read. */
  extent(name: string): number {
    const shape = this.executor.inputs(EVALUATE).find((input) => input.name === name)?.shape ?? [0];
    return shape.reduce((product, extent) => product * extent, 1);
  }

  /** The outputs for a sample. */
  async logits(
    sample: Record<string, Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>,
  ): Promise<Float32Array<ArrayBuffer>> {
    const targets = this.executor.inputs(EVALUATE).filter(({ name }) => TARGETS.has(name));
    const nothing = targets.map(({ name }) => [name, new Uint32Array(this.extent(name))] as const);
    this.executor.write(EVALUATE, { ...Object.fromEntries(nothing), ...sample });
    this.executor.run(EVALUATE, { rows: 1 });
    return this.executor.read("logits");
  }

  /** Gives the device's memory back. */
  close(): void {
    this.executor.destroy();
  }
}

/** The `count` most probable outputs by their scores, the first of equal ones first. */
export function likeliest(logits: Float32Array, labels: readonly string[], count: number): Likely[] {
  const most = logits.reduce((most, x) => Math.max(most, x), -Infinity);
  const powers = Float64Array.from(logits, (x) => Math.exp(x - most));
  const sum = powers.reduce((sum, p) => sum + p, 0);
  const order = Array.from(powers.keys()).sort((a, b) => (powers[b] ?? 0) - (powers[a] ?? 0));
  return order.slice(0, count).map((index) => ({
    label: labels[index] ?? String(index),
    index,
    probability: (powers[index] ?? 0) / sum,
  }));
}
