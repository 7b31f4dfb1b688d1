import { likeliest, type Likely, type Network } from "../network";
import type { Tokenizer } from "./wordpiece";

/** What may be typed for a mark: it is easier to find on a phone. */
const BLANK = /_{3,}/g;

/** What the network puts in the blanks of a text. */
export interface Filled {
  /** The text around the blanks: one part more than there are blanks. */
  around: string[];
  /** The most probable pieces for each blank. */
  blanks: Likely[][];
}

/** A model that fills blanks. */
export class MaskModel {
  readonly reads = "blanks";

  constructor(
    private readonly network: Network,
    private readonly tokenizer: Tokenizer,
  ) {}

  /** The `count` most probable pieces for each blank of a text, as `taper predict` finds them. */
  async fill(typed: string, count = 5): Promise<Filled> {
    const { tokenizer } = this;
    const { cls, sep, pad, mask } = tokenizer.specials;
    const mark = tokenizer.pieces[mask] ?? "";
    const text = typed.replace(BLANK, mark);
    const encoding = tokenizer.encode(text);
    const ids = [cls, ...encoding.ids, sep];
    const [length, most] = [this.network.extent("tokens"), this.network.extent("places")];
    if (ids.length > length)
      throw new Error(`The text has ${ids.length} tokens with its marks, and the model reads ${length}.`);
    const masks = ids.flatMap((id, at) => (id === mask ? [at] : []));
    if (masks.length === 0)
      throw new Error(`The text has no blank: write ${mark} or ___ for each word that is to be found.`);
    if (masks.length > most)
      throw new Error(`The text has ${masks.length} blanks, and the model fills ${most} at once.`);
    const logits = await this.network.logits({
      tokens: padded(ids, length, pad),
      segments: new Uint32Array(length),
      lengths: Uint32Array.of(ids.length),
      places: padded(masks, most, 0),
    });
    const words = logits.length / most;
    const scores = (k: number) => logits.subarray(k * words, (k + 1) * words);
    return {
      around: text.split(mark),
      blanks: masks.map((_, k) => likeliest(scores(k), tokenizer.pieces, count)),
    };
  }

  close(): void {
    this.network.close();
  }
}

function padded(numbers: readonly number[], length: number, fill: number): Uint32Array<ArrayBuffer> {
  const whole = new Uint32Array(length).fill(fill);
  whole.set(numbers);
  return whole;
}
