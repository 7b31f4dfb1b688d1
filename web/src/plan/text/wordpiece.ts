/** WordPiece, `engine/train/src/data/text/wordpiece.rs` in the browser: words as the longest pieces that a vocabulary has, from the left. */
import { points } from "./characters";
import { words, type Char, type Normalizer } from "./words";

/** The marks that every vocabulary has. */
const SPECIALS = { pad: "[PAD]", unk: "[UNK]", cls: "[CLS]", sep: "[SEP]", mask: "[MASK]" };
/** What stands before a piece that goes on with a word. */
const INNER = "##";
/** The most characters of a word that is looked up, where the file does not say; a longer one is unknown. */
const LONGEST = 100;

/** Where the marks stand in a vocabulary. */
export type Specials = Record<keyof typeof SPECIALS, number>;

/** Pieces of a text. */
export interface Encoding {
  /** Numbers of the pieces. */
  ids: number[];
  /** First code point of each in the text, and the one behind its last. */
  offsets: [from: number, until: number][];
}

/** What is read of a `tokenizer.json`. */
interface TokenizerJson {
  model?: {
    type?: unknown;
    vocab?: Record<string, unknown>;
    max_input_chars_per_word?: unknown;
  };
  normalizer?: Partial<Normalizer> & { type?: unknown };
  pre_tokenizer?: { type?: unknown };
  added_tokens?: { content?: unknown; id?: unknown }[] | null;
}

/** A vocabulary and how texts are read with it. */
export class Tokenizer {
  private constructor(
    /** All pieces; a place is an id. */
    readonly pieces: readonly string[],
    private readonly ids: ReadonlyMap<string, number>,
    readonly specials: Specials,
    /** What is read as it stands, the longest first. */
    private readonly marks: readonly (readonly [mark: string, id: number])[],
    private readonly normalizer: Normalizer,
    private readonly longest: number,
  ) {}

  /** The tokenizer of a `tokenizer.json`. */
  static parse(json: unknown): Tokenizer {
    const file = json as TokenizerJson | null;
    const wrong = (what: string) => new Error(`tokenizer.json of this model ${what}`);
    if (typeof file !== "object" || file === null) throw wrong("is damaged");
    const { model, normalizer } = file;
    if (
      !model?.vocab ||
      (model.type ?? "WordPiece") !== "WordPiece" ||
      normalizer?.type !== "BertNormalizer" ||
      file.pre_tokenizer?.type !== "BertPreTokenizer"
    )
      throw wrong("is none of BERT's");
    const { clean_text, handle_chinese_chars, strip_accents = null, lowercase } = normalizer;
    const flags = [clean_text, handle_chinese_chars, lowercase, strip_accents ?? false];
    if (flags.some((flag) => typeof flag !== "boolean")) throw wrong("has a normalizer that cannot be read");

    const ids = new Map<string, number>();
    const pieces: string[] = [];
    for (const [piece, id] of Object.entries(model.vocab)) {
      if (typeof id !== "number") throw wrong("has a piece without an id");
      ids.set(piece, id);
      pieces[id] = piece;
    }
    if (pieces.length !== ids.size || Object.keys(pieces).length !== ids.size)
      throw wrong(`has ${ids.size} pieces whose ids are not 0 … ${ids.size - 1}`);
    const at = (mark: string) => {
      const id = ids.get(mark);
      if (id === undefined) throw wrong(`lacks ${mark}`);
      return id;
    };
    const specials = Object.fromEntries(
      Object.entries(SPECIALS).map(([name, mark]) => [name, at(mark)]),
    ) as Specials;
    const added = (file.added_tokens ?? []).map(({ content }) => String(content));
    const marks = [...new Set([...Object.values(SPECIALS), ...added])]
      .map((mark) => [mark, at(mark)] as const)
      .sort(([a], [b]) => b.length - a.length);
    const longest = model.max_input_chars_per_word;
    const how: Normalizer = {
      clean_text: clean_text === true,
      handle_chinese_chars: handle_chinese_chars === true,
      strip_accents,
      lowercase: lowercase === true,
    };
    return new Tokenizer(pieces, ids, specials, marks, how, typeof longest === "number" ? longest : LONGEST);
  }

  /** The pieces of `text`, without marks around them; marks that stand in it (`[MASK]`) are read as such. */
  encode(text: string): Encoding {
    const to: Encoding = { ids: [], offsets: [] };
    let [rest, first] = [text, 0];
    for (;;) {
      const next = this.nextMark(rest);
      for (const word of words(this.normalizer, rest.slice(0, next?.at), first)) this.addWord(word, to);
      if (!next) return to;
      const { at, mark, id } = next;
      first += points(rest.slice(0, at)).length;
      const until = first + points(mark).length;
      to.ids.push(id);
      to.offsets.push([first, until]);
      [rest, first] = [rest.slice(at + mark.length), until];
    }
  }

  /** The leftmost mark, and of several there the longest. */
  private nextMark(text: string): { at: number; mark: string; id: number } | null {
    let found: { at: number; mark: string; id: number } | null = null;
    for (const [mark, id] of this.marks) {
      const at = text.indexOf(mark);
      if (at >= 0 && (!found || at < found.at)) found = { at, mark, id };
    }
    return found;
  }

  /** The pieces of one word; `[UNK]` for all of it where some of it is in no piece. */
  private addWord(word: readonly Char[], to: Encoding): void {
    const found = word.length <= this.longest ? this.split(word) : null;
    const from = (k: number) => word[k]?.at ?? 0;
    const pieces = found ?? [{ id: this.specials.unk, start: 0, end: word.length }];
    for (const { id, start, end } of pieces) {
      to.ids.push(id);
      to.offsets.push([from(start), from(end - 1) + 1]);
    }
  }

  private split(word: readonly Char[]): { id: number; start: number; end: number }[] | null {
    const found = [];
    for (let start = 0; start < word.length;) {
      let end = word.length;
      let id: number | undefined;
      for (; end > start; end--) {
        const part = String.fromCodePoint(...word.slice(start, end).map(({ value }) => value));
        id = this.find(part, start > 0);
        if (id !== undefined) break;
      }
      if (id === undefined) return null;
      found.push({ id, start, end });
      start = end;
    }
    return found;
  }

  /** A piece that begins a word, or goes on with one. */
  private find(part: string, inner: boolean): number | undefined {
    if (inner) return this.ids.get(INNER + part);
    // What goes on with a word begins none; `##` alone is such a piece.
    return part.length > INNER.length && part.startsWith(INNER) ? undefined : this.ids.get(part);
  }
}
