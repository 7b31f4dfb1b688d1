/**
 * Opens folders of networks on images that Taper wrote for transformers in transformers.js, as they are.
 *
 *     node vision.mjs MODULES FOLDER…
 *
 * MODULES is the folder in which `npm install @huggingface/transformers` was run. `FOLDER.json` beside each has `pictures` by their names, which have
 * the size of the network's input, `labels`, and `logs`, the logarithms of the classes' probabilities as we have them. Prints a line a folder; fails
 * if one is off by more than 1e-4, or if the pipeline `image-classification` names another class first.
 */

import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

import { GATE, largest, transformers } from "./installed.mjs";

const [modules, ...folders] = process.argv.slice(2).map((path) => resolve(path));
const { AutoImageProcessor, AutoModelForImageClassification, RawImage, env, pipeline } =
  await transformers(modules);

/** x − log Σ exp(x), in which networks that differ by a constant agree. */
function logs(scores) {
  const most = Math.max(...scores);
  const sum = scores.reduce((sum, score) => sum + Math.exp(score - most), 0);
  return scores.map((score) => score - most - Math.log(sum));
}

let wrong = 0;
for (const folder of folders) {
  env.localModelPath = dirname(folder);
  const name = basename(folder);
  const asked = JSON.parse(readFileSync(`${folder}.json`, "utf8"));
  const model = await AutoModelForImageClassification.from_pretrained(name);
  const prepare = await AutoImageProcessor.from_pretrained(name);
  const classify = await pipeline("image-classification", name);
  const distances = [];
  for (const [at, picture] of asked.pictures.entries()) {
    const path = join(dirname(folder), picture);
    const { logits } = await model(await prepare(await RawImage.read(path)));
    const ours = asked.logs[at];
    if (logits.data.length !== ours.length) throw new Error(`${name}: ${logits.dims}, and ours are ${ours.length} scores`);
    distances.push(...logs(Array.from(logits.data)).map((score, k) => Math.abs(score - ours[k])));
    const [{ label }] = await classify(path);
    const best = asked.labels[ours.indexOf(Math.max(...ours))];
    if (label !== best) throw new Error(`${picture}: ${label}, and ours is ${best}`);
  }
  const off = largest(distances);
  console.log(`${name}: ${distances.length} scores, off by ${off.toExponential(1)}`);
  wrong += Number(!(off <= GATE && distances.length > 0));
}
process.exit(wrong > 0 ? 1 : 0);
