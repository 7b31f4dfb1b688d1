import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";

import { describe, expect, it } from "vitest";

import { golden, shared, tokenizerJson } from "./goldens";
import { Tokenizer } from "./wordpiece";
import { words } from "./words";

interface Case {
  text: string;
  lowercase: boolean;
  strip_accents: boolean | null;
  marked: { ids: number[]; offsets: [number, number][] };
}
const file = golden<{ vocabulary: string[]; cases: Case[]; tokenizer_json: Record<string, unknown> }>(
  "wordpiece.json",
);

describe("ids in the browser", () => {
  it("and their offsets are those of transformers, over nasty texts", () => {
    expect(file.cases.length).toBeGreaterThanOrEqual(50);
    for (const { text, lowercase, strip_accents, marked } of file.cases) {
      const tokenizer = Tokenizer.parse(tokenizerJson(file.vocabulary, lowercase, strip_accents));
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(marked);
    }
  });

  it("are the same by the file that transformers writes", () => {
    const tokenizer = Tokenizer.parse(file.tokenizer_json);
    for (const { text, lowercase, strip_accents, marked } of file.cases)
      if (lowercase && strip_accents === null) expect(tokenizer.encode(text)).toEqual(marked);
  });

  it("cut, strip and make small every code point as tokenizers does", () => {
    const blocks = golden<{ lower: string[]; cased: string[] }>("words.json");
    for (const [key, lowercase] of [
      ["lower", true],
      ["cased", false],
    ] as const) {
      const how = { clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase };
      for (const [block, wanted] of blocks[key].entries()) {
        let text = "";
        for (let c = 4096 * block; c < 4096 * (block + 1); c++) {
          if (c >= 0xd800 && c < 0xe000) continue;
          for (const word of words(how, `a${String.fromCodePoint(c)}b`))
            text += `${String.fromCodePoint(...word.map(({ value }) => value))}\n`;
        }
        const hash = createHash("sha256").update(text).digest("hex").slice(0, 16);
        expect(hash, `${key}, from U+${(4096 * block).toString(16)}`).toBe(wanted);
      }
    }
  }, 120_000);

  it("are those of transformers on wikitext by BERT's own vocabulary", () => {
    const [vocabulary, valid] = [shared("bert-base-uncased/vocab.txt"), shared("wikitext-2/valid.txt")];
    if (!vocabulary || !valid) return;
    const pieces = readFileSync(vocabulary, "utf8").split("\n").slice(0, -1);
    const tokenizer = Tokenizer.parse(tokenizerJson(pieces));
    const hash = createHash("sha256");
    for (const name of ["valid.txt", "test.txt"]) {
      const text = readFileSync(path.join(path.dirname(valid), name), "utf8");
      for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? [])
        hash.update(Uint32Array.from(tokenizer.encode(line).ids));
    }
    expect(hash.digest("hex")).toBe(golden<{ wikitext: string }>("real.json").wikitext);
  }, 120_000);

  it("take half of a character for none", () => {
    const tokenizer = Tokenizer.parse(file.tokenizer_json);
    expect(tokenizer.encode("th\ud800e").ids).toEqual(tokenizer.encode("the").ids);
  });
});

describe("a tokenizer", () => {
  it("that is none of BERT's, or damaged, is refused", () => {
    const good = tokenizerJson(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
    expect(() => Tokenizer.parse(good)).not.toThrow();
    const vocab = (vocab: Record<string, number>) => ({ ...good, model: { ...good.model, vocab } });
    for (const [bad, message] of [
      [null, "is damaged"],
      [{ ...good, model: { ...good.model, type: "BPE" } }, "is none of BERT's"],
      [{ ...good, pre_tokenizer: { type: "Whitespace" } }, "is none of BERT's"],
      [{ ...good, normalizer: { ...good.normalizer, lowercase: 1 } }, "has a normalizer"],
      [vocab({ "[PAD]": 0 }), "lacks [UNK]"],
      [vocab({ ...good.model.vocab, a: 7 }), "ids are not 0 … 5"],
      [vocab({ ...good.model.vocab, a: 4 }), "ids are not 0 … 5"],
    ] as const)
      expect(() => Tokenizer.parse(bad)).toThrow(message);
  });
});
