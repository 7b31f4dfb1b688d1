/**
 * What WordPiece goes by of characters. Browsers know newer or older characters than the program, and vanish, cut and strip others; so the
 * tables are the program's own, which a test of `engine/train/src/data/text/words.rs` writes.
 */
import tables from "../../generated/characters.json";

/** The number of the last of ascending `starts` that is not behind `c`; -1 where all are. */
function run(starts: Uint32Array, c: number): number {
  let [low, high] = [0, starts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((starts[middle] ?? 0) <= c) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Which run of code points one is in: its place in `list`, where each run is `width` numbers, or -1. Gap and count come first. */
function runs(list: readonly number[], width: number): (c: number) => number {
  const starts = new Uint32Array(list.length / width);
  const ends = new Uint32Array(starts.length);
  let end = 0;
  for (let k = 0; k < starts.length; k++) {
    const start = end + (list[k * width] ?? 0);
    end = start + (list[k * width + 1] ?? 0);
    [starts[k], ends[k]] = [start, end];
  }
  return (c) => {
    const k = run(starts, c);
    return k >= 0 && c < (ends[k] ?? 0) ? k * width : -1;
  };
}

function set(list: readonly number[]): (c: number) => boolean {
  const of = runs(list, 2);
  return (c) => of(c) >= 0;
}

/** Control characters and the like, which are taken out. */
export const vanishes = set(tables.vanishing);
export const isBlank = set(tables.blank);
export const isPunctuation = set(tables.punctuation);
/** Marks that take no room of their own. */
export const isAccent = set(tables.accents);

/** CJK ideographs as BERT counts them; kana and hangul are letters as others. */
export const isIdeograph = set(tables.ideographs);

const classes = runs(tables.classes, 3);

/** The canonical combining class: marks of one base are put in its order. */
export function combiningClass(c: number): number {
  const at = classes(c);
  return at < 0 ? 0 : (tables.classes[at + 2] ?? 0);
}

const decomposing = set(tables.decomposing);

/** The canonical decomposition; Unicode never changes one that it has given. */
export function decomposition(c: number): number[] {
  return decomposing(c) ? points(String.fromCodePoint(c).normalize("NFD")) : [c];
}

const small = new Map(
  tables.small.split(" ").map((pair) => {
    const [capital = 0, ...letters] = points(pair);
    return [capital, letters];
  }),
);

/** The small letters of a capital, whatever stands around it; of others the character itself. */
export function lowercase(c: number): number[] {
  return small.get(c) ?? [c];
}

/** The code points of a text; what is half of one stands for no character, and is U+FFFD. */
export function points(text: string): number[] {
  return Array.from(text, (character) => {
    const c = character.codePointAt(0) ?? 0;
    return c >= 0xd800 && c < 0xe000 ? 0xfffd : c;
  });
}
