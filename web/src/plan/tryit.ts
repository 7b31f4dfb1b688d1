import { parsePlan } from "./document";
import { Executor, openDevice } from "./executor";
import { decode, frame, normalise, withChannels, type Image, type ModelConfig } from "./image";
import { parseSafetensors } from "./safetensors";

/** Where the files of a model are. */
export interface Source {
  /** `plan.json`. */
  plan: string;
  /** `model.safetensors`. */
  weights: string;
  /** `config.json`. */
  config: string;
}

/** A class with its probability. */
export interface Class {
  label: string;
  index: number;
  probability: number;
}

/** What the network says of a picture. */
export interface Answer {
  /** The most probable classes, the first of equal ones first. */
  top: Class[];
  /** What the network saw. */
  seen: Image;
}

/** A file of the model; the server's sentence where it has none. */
async function get(url: string): Promise<Response> {
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

/** A `config.json` whose numbers can be worked with; the bounds are those of `engine/train/src/data/transform.rs`. */
export function parseConfig(json: unknown): ModelConfig {
  const config = json as ModelConfig | null;
  const numbers = (list: unknown): list is number[] =>
    Array.isArray(list) && list.length === config?.channels && list.every((n) => Number.isFinite(n));
  const wrong = (key: string) => new Error(`config.json of this model has no usable ${key}`);
  if (typeof config !== "object" || config === null) throw new Error("config.json of this model is damaged");
  if (config.channels !== 1 && config.channels !== 3) throw wrong("channels");
  if (!Number.isInteger(config.size) || config.size < 1 || config.size > 4096) throw wrong("size");
  if (!numbers(config.mean)) throw wrong("mean");
  if (!numbers(config.std) || config.std.some((n) => n <= 0)) throw wrong("std");
  if (!(config.crop > 0.01 && config.crop <= 1)) throw wrong("crop");
  if (!["bilinear", "area"].includes(config.interpolation)) throw wrong("interpolation");
  if (!Array.isArray(config.labels)) throw wrong("labels");
  return config;
}

/** A model on this browser's device. */
export class Model {
  private constructor(
    private readonly executor: Executor,
    readonly config: ModelConfig,
  ) {}

  /** Fetches a model and makes it ready. */
  static async open(source: Source): Promise<Model> {
    const [plan, weights, config] = await Promise.all([
      get(source.plan).then(async (response) => parsePlan(await response.json())),
      get(source.weights).then(async (response) => parseSafetensors(await response.arrayBuffer())),
      get(source.config).then(async (response) => parseConfig(await response.json())),
    ]);
    const device = await openDevice(plan.limits);
    try {
      const executor = await Executor.open(device, plan);
      executor.load("student", weights);
      return new Model(executor, config);
    } catch (error) {
      device.destroy();
      throw error;
    }
  }

  /** The `count` most probable classes of a picture, as `taper predict` finds them. */
  async predict(file: Blob, count = 5): Promise<Answer> {
    const { channels, labels } = this.config;
    const image = withChannels(await decode(file, this.executor.device), channels);
    const seen = frame(image, this.config);
    // The program tests by labels as well; none is known here, and only the logits are read.
    const fields = { images: normalise(seen, this.config), labels: new Uint32Array(1) };
    this.executor.write("evaluate", fields);
    this.executor.run("evaluate", { rows: 1 });
    const probabilities = softmax(await this.executor.read("logits"));
    const order = [...probabilities.keys()].sort((a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0));
    const top = order.slice(0, count).map((index) => ({
      label: labels[index] ?? String(index),
      index,
      probability: probabilities[index] ?? 0,
    }));
    return { top, seen };
  }

  /** Gives the device's memory back. */
  close(): void {
    this.executor.destroy();
  }
}

function softmax(logits: Float32Array): number[] {
  const most = logits.reduce((most, x) => Math.max(most, x), -Infinity);
  const powers = Array.from(logits, (x) => Math.exp(x - most));
  const sum = powers.reduce((sum, p) => sum + p, 0);
  return powers.map((p) => p / sum);
}
