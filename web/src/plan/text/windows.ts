/**
 * The windows in which a network reads a context, `engine/train/src/data/text/squad.rs` in the browser: `[CLS] question [SEP] part of the
 * context [SEP]`, where neighbouring parts share `stride` pieces. Offsets count code points.
 */
import { isBlank } from "./characters";
import type { Tokenizer } from "./wordpiece";

/** What a network reads at once. */
export interface Window {
  /** Pieces, filled up with `[PAD]`. */
  ids: Uint32Array<ArrayBuffer>;
  /** 0 in the question and behind the end, 1 in the context. */
  segments: Uint32Array<ArrayBuffer>;
  /** Pieces before the end. */
  length: number;
  /** The place of the first piece of the context. */
  context: number;
  /** Where each piece of the context lies in it. */
  offsets: [from: number, until: number][];
}

/** The windows of a question, each of `length` pieces, and whether the question was cut because it leaves too little room. */
export function windows(
  tokenizer: Tokenizer,
  question: string,
  context: string,
  length: number,
  stride: number,
): { windows: Window[]; cut: boolean } {
  // Three marks, a piece of the question, and one of the context behind the overlap.
  const longest = length - 4 - stride;
  if (longest < 1) throw new Error(`The model reads ${length} tokens at once, too few for a question.`);
  const { ids: whole } = tokenizer.encode(withoutLeadingBlanks(question));
  const asked = whole.slice(0, longest);
  const { ids, offsets } = tokenizer.encode(context);
  const room = length - 3 - asked.length;
  const { cls, sep, pad } = tokenizer.specials;
  const made: Window[] = [];
  for (let first = 0; ; first += room - stride) {
    const end = Math.min(ids.length, first + room);
    const pieces = [cls, ...asked, sep, ...ids.slice(first, end), sep];
    const begins = asked.length + 2;
    made.push({
      ids: new Uint32Array(length).fill(pad, pieces.length).map((id, at) => pieces[at] ?? id),
      segments: new Uint32Array(length).fill(1, begins, pieces.length),
      length: pieces.length,
      context: begins,
      offsets: offsets.slice(first, end),
    });
    if (end === ids.length) return { windows: made, cut: asked.length < whole.length };
  }
}

/** The blanks are Rust's, not JavaScript's, which takes U+FEFF for one. */
function withoutLeadingBlanks(text: string): string {
  let from = 0;
  while (from < text.length && isBlank(text.charCodeAt(from))) from++;
  return text.slice(from);
}
