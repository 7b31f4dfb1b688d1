// node predict.mjs FOLDER: tries the pictures of FOLDER in the page's *Try it*, and prints what it says as JSON.
//
// FOLDER/cases.json lists {model, image}: folders with a plan.json, and files.

import { readFile } from "node:fs/promises";
import path from "node:path";

import { browse, source, WEBGPU } from "./serve.mjs";

const [folder] = process.argv.slice(2);
const cases = JSON.parse(
  await readFile(path.join(folder, "cases.json"), "utf8"),
);

/** In the page: the model's answer itself, without the rounding that is shown. */
async function exact({ source, image }) {
  const { open } = await import("/src/plan/tryit.ts");
  const opened = await open(source);
  const { top } = await opened.predict(
    await (await fetch(`/test/${image}`)).blob(),
  );
  opened.close();
  return top;
}

/** What the page shows: an answer's lines, or its sentence. */
async function shown(page) {
  await page
    .locator(".answer:not([aria-busy='true']) > *, .notice")
    .first()
    .waitFor();
  const notice = page.locator(".notice");
  if (await notice.count()) return { notice: await notice.innerText() };
  const lines = await page.locator("li").all();
  return { lines: await Promise.all(lines.map((line) => line.innerText())) };
}

const answers = await browse(folder, WEBGPU, async (open) => {
  const done = [];
  for (const one of cases) {
    const page = await open(`/tryit.html?model=/test/${one.model}/`);
    await page
      .locator("input")
      .setInputFiles(path.join(folder, one.image));
    const show = await shown(page);
    const top =
      "notice" in show
        ? null
        : await page.evaluate(exact, { ...one, source: source(one.model) });
    done.push({ ...one, ...show, top });
    await page.close();
  }
  return done;
});

// A browser that has WebGPU but no adapter, and one that has no WebGPU.
const without = await browse(folder, [], async (open) => {
  const at = `/tryit.html?model=/test/${cases[0].model}/`;
  const page = await open(at);
  const adapter = (await shown(page)).notice;
  await page.addInitScript(() => delete Navigator.prototype.gpu);
  await page.goto(at);
  return { adapter, api: (await shown(page)).notice };
});
console.log(JSON.stringify({ answers, without }));
