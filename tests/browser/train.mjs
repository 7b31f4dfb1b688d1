// node train.mjs FOLDER: trains FOLDER's plans in Chromium by the page's executor, and prints their losses as JSON.
//
// FOLDER/cases.json lists {name, steps, batch, lr, teacher}; each has NAME.plan.json, NAME.safetensors, with a teacher also
// NAME.teacher.safetensors, and NAME.images.f32 and NAME.labels.u32 with the batches one behind the other.

import { readFile } from "node:fs/promises";
import path from "node:path";

import { browse, WEBGPU } from "./serve.mjs";

const [folder] = process.argv.slice(2);
const cases = JSON.parse(
  await readFile(path.join(folder, "cases.json"), "utf8"),
);

/** In the page. */
async function train({ name, steps, batch, lr, teacher }) {
  const { parsePlan } = await import("/src/plan/document.ts");
  const { Executor, openDevice } = await import("/src/plan/executor.ts");
  const { parseSafetensors } = await import("/src/plan/safetensors.ts");
  const get = async (end) =>
    (await fetch(`/test/${name}.${end}`)).arrayBuffer();
  const plan = parsePlan(await (await fetch(`/test/${name}.plan.json`)).json());
  const images = new Float32Array(await get("images.f32"));
  const labels = new Uint32Array(await get("labels.u32"));

  const device = await openDevice(plan.limits);
  const executor = await Executor.open(device, plan);
  executor.load("student", parseSafetensors(await get("safetensors")));
  if (teacher)
    executor.load(
      "teacher",
      parseSafetensors(await get("teacher.safetensors")),
    );
  const losses = [];
  const input = images.length / steps;
  for (let step = 0; step < steps; step++) {
    executor.write("step", {
      images: images.slice(step * input, (step + 1) * input),
      labels: labels.slice(step * batch, (step + 1) * batch),
    });
    executor.run("step", { step, rows: batch, lr, t: step + 1 });
    losses.push((await executor.read("metrics"))[0]);
  }
  const { vendor, architecture } = device.adapterInfo;
  executor.destroy();
  return { name, adapter: `${vendor} ${architecture}`, losses };
}

const results = await browse(folder, WEBGPU, async (open) => {
  const page = await open("/src/icon.svg");
  const done = [];
  for (const one of cases) done.push(await page.evaluate(train, one));
  return done;
});
console.log(JSON.stringify(results));
