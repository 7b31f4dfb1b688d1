import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

import { describe, expect, it } from "vitest";

import { answer, type Scored } from "./answers";
import { golden, shared, tokenizerJson } from "./goldens";
import { windows, type Window } from "./windows";
import { Tokenizer } from "./wordpiece";

interface Answer {
  text: string;
  answer_start: number;
}
interface Squad {
  data: { paragraphs: { context: string; qas: { id: string; question: string; answers: Answer[] }[] }[] }[];
}
interface Chosen {
  answers: Record<string, string>;
  odds?: Record<string, number>;
  n_best?: Record<string, [text: string, probability: number][]>;
}
interface Setting {
  length: number;
  doc_stride: number;
  n_best: number;
  max_answer_length: number;
  windows: {
    id: string;
    ids: number[];
    kinds: number[];
    length: number;
    context: number;
    offsets: [number, number][];
  }[];
  starts: number[][];
  ends: number[][];
  chosen: Record<string, Chosen>;
}
const file = golden<{ vocabulary: string[]; questions: Squad; settings: Setting[] }>("squad.json");

/** All questions with their contexts. */
const asked = ({ data }: Squad) =>
  data.flatMap(({ paragraphs }) =>
    paragraphs.flatMap(({ context, qas }) => qas.map((of) => ({ ...of, context }))),
  );

describe("questions in the browser", () => {
  const tokenizer = Tokenizer.parse(tokenizerJson(file.vocabulary));

  it("are cut into windows as by run_qa", () => {
    for (const { length, doc_stride, windows: wanted } of file.settings) {
      const made: { id: string; window: Window }[] = [];
      for (const { id, question, context } of asked(file.questions)) {
        // The shortest windows are too short for one question there.
        if (!wanted.some((window) => window.id === id)) continue;
        const found = windows(tokenizer, question, context, length, doc_stride);
        expect(found.cut).toBe(false);
        made.push(...found.windows.map((window) => ({ id, window })));
      }
      expect(made.length).toBe(wanted.length);
      for (const [k, { id, window }] of made.entries()) {
        expect({
          id,
          ids: [...window.ids],
          kinds: [...window.segments],
          length: window.length,
          context: window.context,
          offsets: window.offsets,
        }).toEqual({ ...wanted[k], answer: undefined });
      }
    }
  });

  it("have the answers of run_qa, with and without none", () => {
    for (const setting of file.settings) {
      for (const [name, chosen] of Object.entries(setting.chosen)) {
        const [version, threshold] = name.split(" ");
        const how = {
          nBest: setting.n_best,
          longest: setting.max_answer_length,
          unanswerable: version === "2",
          nullThreshold: Number(threshold),
        };
        for (const { id, question, context } of asked(file.questions)) {
          const first = setting.windows.findIndex((window) => window.id === id);
          if (first < 0) continue;
          const { length, doc_stride } = setting;
          const scored = windows(tokenizer, question, context, length, doc_stride).windows.map(
            (window, k): Scored => ({
              window,
              starts: Float32Array.from(setting.starts[first + k] ?? []),
              ends: Float32Array.from(setting.ends[first + k] ?? []),
            }),
          );
          const found = answer(context, scored, how);
          // run_qa answers with a word of its own where it finds nothing.
          const nothing = found.candidates.every(({ text }) => text === "");
          if (!nothing) expect(found.best?.text ?? "", `${name} ${id}`).toBe(chosen.answers[id]);
          const odds = chosen.odds?.[id];
          if (odds !== undefined && !nothing) expect(found.nullOdds).toBe(odds);
          const best = chosen.n_best?.[id];
          if (!best || nothing) continue;
          expect(found.candidates.map(({ text }) => text)).toEqual(best.map(([text]) => text));
          for (const [k, [, probability]] of best.entries())
            expect(Math.abs((found.candidates[k]?.probability ?? NaN) - probability)).toBeLessThan(1e-6);
        }
      }
    }
  });

  it("mark code points of the context", () => {
    const context = "a \u{1f600} hung over the door";
    const found = windows(tokenizer, "what?", context, 32, 8).windows[0];
    const places = (found?.offsets ?? []).map(([from, until]) =>
      Array.from(context).slice(from, until).join(""),
    );
    expect(places.join("")).toBe("a\u{1f600}hungoverthedoor");
  });

  it("that are too long lose their end, and blanks before them are Rust's", () => {
    expect(windows(tokenizer, "the ".repeat(50), "one two", 20, 5).cut).toBe(true);
    expect(() => windows(tokenizer, "the", "one", 8, 4)).toThrow("too few for a question");
    const ids = (question: string) => [...(windows(tokenizer, question, "one", 20, 5).windows[0]?.ids ?? [])];
    expect(ids("\u0085 the")).toEqual(ids("the"));
  });

  it("of SQuAD have the windows of transformers by BERT's own vocabulary", () => {
    const [vocabulary, squad] = [shared("bert-base-uncased/vocab.txt"), shared("squad/dev-v2.0-half.json")];
    if (!vocabulary || !squad) return;
    const real = Tokenizer.parse(tokenizerJson(readFileSync(vocabulary, "utf8").split("\n").slice(0, -1)));
    const wanted = golden<{ windows: number; squad: string }>("real.json");
    let count = 0;
    const hash = createHash("sha256");
    for (const { question, context, answers } of asked(JSON.parse(readFileSync(squad, "utf8")) as Squad))
      for (const window of windows(real, question, context, 384, 128).windows) {
        count++;
        for (const numbers of [
          [...window.ids.subarray(0, window.length)],
          window.offsets.flat(),
          label(window, answers[0]),
        ])
          hash.update(Uint32Array.from(numbers));
      }
    expect(count).toBe(wanted.windows);
    expect(hash.digest("hex")).toBe(wanted.squad);
  }, 300_000);
});

/** The places of an answer's first and last pieces, which nothing but training needs; 0 where the window does not hold it. */
function label({ context, offsets }: Window, answer: Answer | undefined): [number, number] {
  if (!answer) return [0, 0];
  const [start, end] = [answer.answer_start, answer.answer_start + Array.from(answer.text).length];
  const first = offsets.findLastIndex(([from]) => from <= start);
  const last = offsets.findIndex(([, until]) => until >= end);
  return first >= 0 && last >= 0 ? [context + first, context + last] : [0, 0];
}
