/**
 * The words of a text, as BERT's own tokenizer sees them before it looks into a vocabulary: `engine/train/src/data/text/words.rs` in the
 * browser.
 */
import {
  combiningClass,
  decomposition,
  isAccent,
  isBlank,
  isIdeograph,
  isPunctuation,
  lowercase,
  points,
  vanishes,
} from "./characters";

/** What is done to a text before it is cut into words; the keys are those of a `tokenizer.json`. */
export interface Normalizer {
  clean_text: boolean;
  handle_chinese_chars: boolean;
  /** `null` does it with `lowercase`. */
  strip_accents: boolean | null;
  lowercase: boolean;
}

/** A character of a normalised text. */
export interface Char {
  value: number;
  /** The code point of the text that it comes from. */
  at: number;
}

const SPACE = 0x20;

/** The words of `text` in order; `first` is the number of the text's first code point. */
export function words(how: Normalizer, text: string, first = 0): Char[][] {
  const found: Char[][] = [];
  let word: Char[] = [];
  const end = () => {
    if (word.length > 0) found.push(word);
    word = [];
  };
  for (const char of normalized(how, text, first)) {
    if (isBlank(char.value)) end();
    else if (isPunctuation(char.value)) {
      end();
      found.push([char]);
    } else word.push(char);
  }
  end();
  return found;
}

function normalized(how: Normalizer, text: string, first: number): Char[] {
  let chars: Char[] = [];
  for (const [k, c] of points(text).entries()) {
    if (how.clean_text && vanishes(c)) continue;
    const at = first + k;
    const value = how.clean_text && isBlank(c) ? SPACE : c;
    if (how.handle_chinese_chars && isIdeograph(value))
      chars.push({ value: SPACE, at }, { value, at }, { value: SPACE, at });
    else chars.push({ value, at });
  }
  if (how.strip_accents ?? how.lowercase) chars = withoutAccents(chars);
  if (how.lowercase)
    chars = chars.flatMap(({ value, at }) => lowercase(value).map((value) => ({ value, at })));
  return chars;
}

/** The characters decomposed, marks of one base in their canonical order, without accents. */
function withoutAccents(chars: readonly Char[]): Char[] {
  const parts: { value: number; group: number; leads: boolean }[] = [];
  let marks: { value: number; group: number; leads: boolean }[] = [];
  const put = () => {
    // Stable: marks of one class stay in their order.
    parts.push(...marks.sort((a, b) => a.group - b.group));
    marks = [];
  };
  for (const { value } of chars)
    for (const [k, part] of decomposition(value).entries()) {
      const group = combiningClass(part);
      if (group === 0) put();
      marks.push({ value: part, group, leads: k === 0 });
    }
  put();
  // The first part of a decomposition stands for its source, the others are more of the same: as `tokenizers` counts, behind
  // the reordering.
  let next = 0;
  let at = 0;
  const placed = parts.map(({ value, leads }) => {
    if (leads) at = chars[next++]?.at ?? at;
    return { value, at };
  });
  return placed.filter(({ value }) => !isAccent(value));
}
