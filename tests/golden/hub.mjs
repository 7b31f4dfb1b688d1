/**
 * Opens folders that Taper wrote in transformers.js, as they are.
 *
 *     node hub.mjs MODULES FOLDER…
 *
 * MODULES is the folder in which `npm install @huggingface/transformers` was run. Each FOLDER has `asked.json`, the
 * inputs (N, L) of a model on text, and `logits.f32` (N, L, vocabulary), our scores. Prints a line a folder; fails if a score is off by more than
 * 1e-4, or the pipeline `fill-mask` has no answer.
 */

import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

import { GATE, largest, transformers } from "./installed.mjs";

const [modules, ...folders] = process.argv.slice(2).map((path) => resolve(path));
const { AutoModelForMaskedLM, Tensor, env, pipeline } = await transformers(modules);

let wrong = 0;
for (const folder of folders) {
  env.localModelPath = dirname(folder);
  const name = basename(folder);
  const model = await AutoModelForMaskedLM.from_pretrained(name);
  const asked = JSON.parse(readFileSync(join(folder, "asked.json"), "utf8"));
  const rows = asked.input_ids;
  const whole = (numbers) => new Tensor("int64", BigInt64Array.from(numbers.flat(), BigInt), [rows.length, rows[0].length]);
  const inputs = Object.fromEntries(Object.entries(asked).map(([input, numbers]) => [input, whole(numbers)]));
  const { logits } = await model(inputs);
  const bytes = readFileSync(join(folder, "logits.f32"));
  const ours = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  if (ours.length !== logits.data.length) throw new Error(`${name}: ${logits.dims}, and ours are ${ours.length} scores`);
  const off = largest(Array.from(ours, (score, at) => Math.abs(score - logits.data[at])));
  const unmask = await pipeline("fill-mask", name);
  const answers = await unmask("the [MASK] of");
  const best = answers.map(({ token_str, score }) => `${token_str} ${score.toFixed(3)}`).join(", ");
  console.log(`${name}: ${logits.dims.join(" × ")}, off by ${off.toExponential(1)}; "the [MASK] of": ${best}`);
  wrong += Number(!(off <= GATE && answers.length > 0));
}
process.exit(wrong > 0 ? 1 : 0);
