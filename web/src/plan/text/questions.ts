import type { Network } from "../network";
import { answer, type Answered, type Scored } from "./answers";
import { windows } from "./windows";
import type { Tokenizer } from "./wordpiece";

/** As `taper predict` asks. */
const CHOOSING = { nBest: 20, longest: 30, nullThreshold: 0 };

/** The answer to a question. */
export interface Found extends Answered {
  /** Whether the question was too long and lost its end. */
  cut: boolean;
}

/** A model that answers questions about a text. */
export class QuestionModel {
  readonly reads = "questions";

  constructor(
    private readonly network: Network,
    private readonly tokenizer: Tokenizer,
    /** Whether it learnt that some questions have no answer. */
    private readonly unanswerable: boolean,
  ) {}

  /**
   * The answer to a question by what stands in `context`, as `taper predict` finds it; null where `progress`, which hears how many windows
   * were read, says that nobody waits for it.
   */
  async ask(
    question: string,
    context: string,
    progress: (done: number, of: number) => boolean = () => true,
  ): Promise<Found | null> {
    const length = this.network.extent("tokens");
    const { tokenizer, unanswerable } = this;
    const cuts = windows(tokenizer, question, context, length, Math.floor(length / 4));
    const scored: Scored[] = [];
    for (const window of cuts.windows) {
      if (!progress(scored.length, cuts.windows.length)) return null;
      const logits = await this.network.logits({
        tokens: window.ids,
        segments: window.segments,
        lengths: Uint32Array.of(window.length),
      });
      const of = (end: number) => Float32Array.from({ length }, (_, at) => logits[2 * at + end] ?? NaN);
      scored.push({ window, starts: of(0), ends: of(1) });
    }
    return { ...answer(context, scored, { ...CHOOSING, unanswerable }), cut: cuts.cut };
  }

  close(): void {
    this.network.close();
  }
}
