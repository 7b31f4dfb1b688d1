/** For tests: the goldens that `tests/golden/text.py` makes with transformers, and files beside the workspace. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../../../..");

export function golden<T>(name: string): T {
  return JSON.parse(readFileSync(path.join(root, "tests/golden/text", name), "utf8")) as T;
}

/** A file of `../shared/data`; null where it is absent, but where `TAPER_REQUIRE_DATA=1` demands it. */
export function shared(name: string): string | null {
  const file = path.resolve(root, "../shared/data", name);
  if (existsSync(file)) return file;
  if (process.env["TAPER_REQUIRE_DATA"] === "1") throw new Error(`${file} is missing`);
  console.log(`${file} is missing: what needs it is not tested`);
  return null;
}

/** The `tokenizer.json` of a vocabulary with BERT's marks. */
export function tokenizerJson(
  pieces: readonly string[],
  lowercase = true,
  stripAccents: boolean | null = null,
) {
  return {
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: stripAccents,
      lowercase,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    model: { type: "WordPiece", vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])) },
  };
}
