import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

import type { Locator } from "playwright-core";
import { expect, test } from "vitest";

import { PROGRAM } from "./server";
import { badge, begin, context, end, page, server } from "./session";
import { unzip } from "./zip";

/** Texts and questions on the page, against what the program answers. */

begin();

/** Uploads a file by the page, and begins a run on it with these changes of the form's. */
async function runOn(file: { name: string; mimeType: string; buffer: Buffer }, set: Record<string, unknown>) {
  await page.goto(`${server.origin}/datasets`);
  await page.locator("#archive").setInputFiles(file);
  await page.getByRole("button", { name: "Upload" }).click();
  await page.locator(".texts li").first().waitFor({ timeout: 60_000 });
  const name = file.name.replace(/\..*$/, "");
  await page.locator("tr").filter({ hasText: name }).getByRole("link", { name: "Use" }).click();
  await page.waitForURL(/preset=bert-tiny/);
  const more = Object.entries(set).map(
    ([key, value]) => `&set=${encodeURIComponent(`${key}=${JSON.stringify(value)}`)}`,
  );
  await page.goto(page.url() + more.join(""));
  await page.locator("#run-name").fill(name);
  await page.getByText("Queries, keys and values read the lifted state").waitFor();
  await page.getByText("Ready: everything fits.").waitFor({ timeout: 60_000 });
  await page.getByRole("button", { name: "Start" }).click();
  await page.waitForURL(/\/runs\//);
  await badge().filter({ hasText: "done" }).waitFor({ timeout: 200_000 });
  const zip = await context.request.get(`${page.url().replace("/runs/", "/api/runs/")}/artifacts.zip`);
  const folder = path.join(server.folder, `model-${name}`);
  for (const [name, data] of unzip(await zip.body())) {
    // Behind the folder of the run's id.
    const place = path.join(folder, ...name.split("/").slice(1));
    mkdirSync(path.dirname(place), { recursive: true });
    writeFileSync(place, data);
  }
  await page.getByRole("link", { name: "Try it" }).click();
  return folder;
}

/** A BERT that is trained in seconds. */
const TINY = {
  methods: ["vanilla"],
  seeds: [0],
  "model.hidden": 16,
  "model.layers": 2,
  "model.heads": 2,
  "model.inner": 32,
  "vanilla.steps": 30,
  "vanilla.warmup": 1,
};

/** What *Try it* lists, against what `taper predict` says. */
async function isListed(list: Locator, top: { label: string; probability: number }[]) {
  const shown = await list.locator("li").evaluateAll((rows) => rows.map((row) => row.textContent ?? ""));
  expect(shown.length).toBe(top.length);
  for (const [k, row] of shown.entries()) {
    const [, label, percent] = /^(.*?)\s*([\d.]+) %$/s.exec(row.trim()) ?? [];
    expect(label).toBe(top[k]?.label);
    expect(Math.abs(Number(percent) / 100 - (top[k]?.probability ?? NaN))).toBeLessThan(1.5e-3);
  }
}

test("a text is uploaded, trained on, and its blanks are filled in the browser as in the program", async () => {
  const names = ["fox", "hen", "caf\u00e9", "\u4e2d\u6587"];
  const sentences = Array.from(
    { length: 240 },
    (_, k) => `The ${names[k % 4]} sat on the ${names[(k * 7) % 3]} and sang.${k % 12 === 11 ? "\n" : ""}`,
  );
  const buffer = Buffer.from(`${sentences.join("\n")}\n`);
  const folder = await runOn({ name: "story.txt", mimeType: "text/plain", buffer }, TINY);
  await page.getByLabel("Text with blanks").fill("The fox sat");
  await page.getByRole("button", { name: "Fill in" }).click();
  await page.getByRole("alert").filter({ hasText: "The text has no blank" }).waitFor();
  await page.getByLabel("Text with blanks").fill("The Cafe\u0301 ___ on\u4e2d[MASK]");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Blank 2" }).waitFor();
  const asked = ["predict", folder, "The Cafe\u0301 [MASK] on\u4e2d[MASK]", "--json"];
  const { masks } = JSON.parse(execFileSync(PROGRAM, asked, { encoding: "utf8" })) as {
    masks: { label: string; probability: number }[][];
  };
  for (const [k, mask] of masks.entries())
    await isListed(page.getByRole("region", { name: `Blank ${k + 1}` }), mask);
  expect(await page.locator("mark").allTextContents()).toEqual(masks.map((mask) => mask[0]?.label));
});

test("questions are uploaded, learnt, and answered in the browser as in the program", async () => {
  const context =
    "In 1897 An\u00e4is opened a caf\u00e9 by the sea. \u738b\u5c0f\u660e ran it until 1931, and then it was sold to the town.";
  const asked = (article: number) =>
    Array.from({ length: 12 }, (_, k) => ({
      id: `${article}-${k}`,
      question: k % 2 ? "When did it open?" : "Who ran it?",
      answers: [k % 2 ? "1897" : "\u738b\u5c0f\u660e"].map((text) => ({
        text,
        answer_start: Array.from(context.slice(0, context.indexOf(text))).length,
      })),
    }));
  const data = [0, 1].map((article) => ({
    title: `${article}`,
    paragraphs: [{ context, qas: asked(article) }],
  }));
  const buffer = Buffer.from(JSON.stringify({ version: "1.1", data }));
  const folder = await runOn(
    { name: "answers.json", mimeType: "application/json", buffer },
    { ...TINY, "text.length": 32, "finetune.doc_stride": 8, "model.positions": 32, "vanilla.batch": 8 },
  );
  await page.getByLabel("Text", { exact: true }).fill(context);
  await page.getByLabel("Question").fill("Who ran it?");
  await page.getByRole("button", { name: "Ask" }).click();
  await page.locator(".answer .best").waitFor();
  const args = ["predict", folder, "Who ran it?", "--context", context, "--json"];
  const { top } = JSON.parse(execFileSync(PROGRAM, args, { encoding: "utf8" })) as {
    top: { text: string; probability: number }[];
  };
  await isListed(
    page.locator(".answer ol"),
    top.map(({ text, probability }) => ({ label: text, probability })),
  );
  expect(await page.locator(".best").textContent()).toBe(top[0]?.text);
  expect(await page.locator("mark").textContent()).toBe(top[0]?.text);
  await page.getByRole("link", { name: "Progress" }).click();
  await page.getByRole("columnheader", { name: "Exact match" }).waitFor();
});

end();
