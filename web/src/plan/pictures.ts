import { decode, frame, normalise, withChannels, type Image, type ModelConfig } from "./image";
import { likeliest, type Likely, type Network } from "./network";

/** What the network says of a picture. */
export interface Seen {
  /** The most probable classes. */
  top: Likely[];
  /** What the network saw. */
  seen: Image;
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

/** A model that tells classes of pictures. */
export class PictureModel {
  readonly reads = "pictures";

  constructor(
    private readonly network: Network,
    private readonly config: ModelConfig,
  ) {}

  /** The `count` most probable classes of a picture, as `taper predict` finds them. */
  async predict(file: Blob, count = 5): Promise<Seen> {
    const { channels, labels } = this.config;
    const image = withChannels(await decode(file, this.network.device), channels);
    const seen = frame(image, this.config);
    const logits = await this.network.logits({ images: normalise(seen, this.config) });
    return { top: likeliest(logits, labels, count), seen };
  }

  close(): void {
    this.network.close();
  }
}
