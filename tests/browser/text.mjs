// node text.mjs FOLDER: tries models on text of FOLDER in the page's *Try it*, and prints what it says as JSON.
//
// FOLDER/cases.json lists {model, text} and {model, context, question}: folders with a plan.json, and what is typed.
// FOLDER/ids.json has texts, whose ids and offsets by FOLDER/MODEL/tokenizer.json of the first case's model are hashed.

import { readFile } from "node:fs/promises";
import path from "node:path";

import { browse, source, WEBGPU } from "./serve.mjs";

const [folder] = process.argv.slice(2);
const read = async (name) =>
  JSON.parse(await readFile(path.join(folder, name), "utf8"));
const [cases, texts] = [await read("cases.json"), await read("ids.json")];

/** In the page: the model's answer itself, without the rounding that is shown. */
async function exact({ source, text, context, question }) {
  const { open } = await import("/src/plan/tryit.ts");
  const opened = await open(source);
  const answer = text
    ? (await opened.fill(text)).blanks
    : await opened.ask(question, context);
  opened.close();
  return answer;
}

/** In the page: a hash (FNV-1a by words) of the ids of each text, and of its offsets. */
async function hashes([tokenizer, texts]) {
  const { Tokenizer } = await import("/src/plan/text/wordpiece.ts");
  const of = Tokenizer.parse(await (await fetch(tokenizer)).json());
  const hash = (numbers) =>
    numbers.reduce((hash, n) => Math.imul(hash ^ n, 0x01000193), 0x811c9dc5) >>> 0;
  return texts.map((text) => {
    const { ids, offsets } = of.encode(text);
    return [hash(ids), hash(offsets.flat())];
  });
}

/** What the page shows: lines of each list, what is marked in the text, or its sentence. */
async function shown(page) {
  await page
    .locator(".answer[aria-busy='false'] > *, .notice")
    .first()
    .waitFor();
  const notice = page.locator(".notice.bad");
  if (await notice.count()) return { notice: await notice.innerText() };
  const lines = await page.locator("ol").all();
  const best = page.locator(".best");
  return {
    lists: await Promise.all(
      lines.map((list) => list.locator("li").allInnerTexts()),
    ),
    marked: await page.locator("mark").allInnerTexts(),
    best: (await best.count()) ? await best.innerText() : null,
  };
}

const said = await browse(folder, WEBGPU, async (open) => {
  const answers = [];
  for (const one of cases) {
    const page = await open(`/tryit.html?model=/test/${one.model}/`);
    if (one.text) await page.getByLabel("Text with blanks").fill(one.text);
    else {
      await page.getByLabel("Text", { exact: true }).fill(one.context);
      await page.getByLabel("Question").fill(one.question);
    }
    await page.getByRole("button", { name: one.text ? "Fill in" : "Ask" }).click();
    const show = await shown(page);
    const answer =
      "notice" in show
        ? null
        : await page.evaluate(exact, { ...one, source: source(one.model) });
    answers.push({ ...one, ...show, answer });
    await page.close();
  }
  const page = await open("/src/icon.svg");
  const tokenizer = `/test/${cases[0].model}/tokenizer.json`;
  return { answers, hashes: await page.evaluate(hashes, [tokenizer, texts]) };
});
console.log(JSON.stringify(said));
