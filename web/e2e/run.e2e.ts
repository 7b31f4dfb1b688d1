import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import { PROGRAM } from "./server";
import {
  badge,
  begin,
  browser,
  context,
  end,
  expectDown,
  field,
  listen,
  page,
  picture,
  server,
} from "./session";
import { unzip } from "./zip";

/** A run on the page, from its first step to its last: it is set up, watched, downloaded, tried, compared and deleted. */

begin();

/** A demo that trains in a minute or two on two cores: two methods, one seed, short stages. */
const SHORT: Record<string, string> = {
  seeds: "0",
  "wide-epochs": "15",
  "vanilla-epochs": "12",
  "narrow-epochs": "2",
  "tune-epochs": "4",
};

/** The files of the run's model. */
let downloaded = new Map<string, Buffer>();

/** Sets the short demo up on the page. */
async function setUp(name: string): Promise<void> {
  await page.goto(`${server.origin}/new?preset=demo&form=all`);
  await page.locator("#run-name").fill(name);
  for (const method of ["kd", "fitnets", "start_only"])
    await page.getByRole("checkbox", { name: method }).uncheck();
  for (const [key, value] of Object.entries(SHORT)) await field(key).fill(value);
}

test("a run is set up, started, and watched in two tabs", async () => {
  await setUp("the demo");
  await page.getByText("Ready: everything fits.").first().waitFor();
  await picture("new-run", page, 1180);
  await page.getByRole("button", { name: "Start" }).click();
  await page.waitForURL(/\/runs\//);
  await badge().filter({ hasText: "running" }).waitFor();
  const other = await context.newPage();
  listen(other);
  await other.goto(page.url());
  await badge(other).filter({ hasText: "running" }).waitFor();
  await page.locator(".stage.running").first().waitFor();
  // Both tabs move by themselves.
  const shown = (of: Page) => of.locator(".big").textContent();
  const [first, second] = [await shown(page), await shown(other)];
  await expect.poll(() => shown(page), { timeout: 60_000 }).not.toBe(first);
  await expect.poll(() => shown(other), { timeout: 60_000 }).not.toBe(second);
  await other.close();
});

test("a reload in the middle changes nothing, a zoom stands in the address", async () => {
  await badge().waitFor();
  await page.reload();
  await badge()
    .filter({ hasText: /running|done/ })
    .waitFor();
  const plot = page.locator(".plot .u-over").first();
  await expect.poll(() => page.locator(".legend li").count(), { timeout: 60_000 }).toBeGreaterThan(0);
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.boundingBox();
  if (!box) throw new Error("no chart");
  await page.mouse.move(box.x + box.width * 0.2, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
  await page.mouse.up();
  await page.waitForURL(/from=\d+&to=\d+/);
  await page.getByRole("button", { name: "Show all steps" }).click();
  await page.waitForURL((url) => !url.search.includes("from="));
});

test("a run goes on while the server is killed, and the page finds it again", async () => {
  expectDown(true);
  await server.end("SIGKILL");
  await page.getByRole("status").getByText("reconnecting").waitFor();
  await server.begin();
  await page.getByRole("status").getByText("live").waitFor({ timeout: 60_000 });
  expectDown(false);
  await badge()
    .filter({ hasText: /running|queued|done/ })
    .waitFor({ timeout: 60_000 });
});

test("all stages are gone through, and the merge is proved", async () => {
  await badge().filter({ hasText: "done" }).waitFor({ timeout: 200_000 });
  const lane = page.getByRole("button", { name: /^win-0/ });
  // The stream tells the badge; the stages are fetched after it.
  await expect.poll(() => lane.locator(".stage.done").count(), { timeout: 10_000 }).toBe(6);
  // Linux tells what its process took.
  if (process.platform === "linux")
    await page
      .getByRole("region", { name: "What it takes" })
      .getByRole("img", { name: /^Memory over .* at most/ })
      .waitFor();
  await lane.click();
  await expect.poll(() => page.locator(".legend li").count()).toBeGreaterThan(0);
  await page.mouse.move(0, 0);
  await picture("run", page, 1180);
  await page.getByRole("link", { name: "Imitation" }).click();
  await page.getByText("Merged.").waitFor();
  expect(await page.locator("tbody tr").count()).toBe(4);
  await picture("imitation");
});

test("the download is whole: every sum is right", async () => {
  await page.getByRole("link", { name: "Files" }).click();
  const saving = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download all (.zip)" }).click();
  const files = (downloaded = unzip(readFileSync(await (await saving).path())));
  const sums = [...files].find(([name]) => name.endsWith("SHA256SUMS"))?.[1].toString("utf8") ?? "";
  const lines = sums.trim().split("\n");
  expect(lines.length).toBeGreaterThanOrEqual(4);
  for (const line of lines) {
    const [sum, name] = line.split(/\s+\*?/) as [string, string];
    const data = [...files].find(([path]) => path === name || path.endsWith(`/${name}`))?.[1];
    expect(data, name).toBeDefined();
    expect(
      createHash("sha256")
        .update(data as Buffer)
        .digest("hex"),
      name,
    ).toBe(sum);
    if (name !== "SHA256SUMS") expect(await page.locator("code", { hasText: sum }).count(), name).toBe(1);
  }
  expect([...files.keys()].some((name) => name.endsWith("model.safetensors"))).toBe(true);
});

test("another form is made and downloaded, and one that cannot be says why", async () => {
  const form = page.getByLabel("Another form");
  expect(await form.locator("option[value=timm]").textContent()).toContain("no residual network");
  await form.selectOption("pytorch");
  await page.getByLabel("also in 8-bit whole numbers, by pictures of the run").check();
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download this form" }).click();
  const names = [...unzip(readFileSync(await (await saving).path())).keys()];
  for (const name of ["model.py", "model_int8.onnx", "model.safetensors", "SHA256SUMS"])
    expect(
      names.some((path) => path.endsWith(`/${name}`)),
      name,
    ).toBe(true);
});

test("the model answers in the browser as it does in the program", async () => {
  const preview = await context.request.get(
    `${server.origin}/api/datasets/procedural/preview?split=test&count=4`,
  );
  const { samples } = (await preview.json()) as { samples: { url: string }[] };
  const folder = path.join(server.folder, "downloaded");
  mkdirSync(folder);
  for (const [name, data] of downloaded) writeFileSync(path.join(folder, path.basename(name)), data);
  await page.getByRole("link", { name: "Try it" }).click();
  await page.getByText("Drop pictures here").waitFor({ timeout: 60_000 });
  const whose = await page.getByLabel("Answers of").inputValue();
  for (const [i, { url }] of samples.entries()) {
    const picture = path.join(folder, `${i}.png`);
    writeFileSync(picture, await (await context.request.get(server.origin + url)).body());
    await page.locator('input[type="file"]').setInputFiles(picture);
    await page.getByText(`${i}.png, as the network sees it`).waitFor();
    const predicted = execFileSync(PROGRAM, ["predict", folder, picture, "--json"], { encoding: "utf8" });
    const { top } = JSON.parse(predicted) as { top: { label: string; probability: number }[] };
    const shown = await page
      .getByRole("region", { name: `${whose} on ${i}.png` })
      .locator("li")
      .evaluateAll((rows) => rows.map((row) => row.textContent ?? ""));
    expect(shown.length).toBe(5);
    for (const [k, row] of shown.entries()) {
      const [label, percent] = row.trim().split(/\s+/);
      expect(label).toBe(top[k]?.label);
      // Shown to a tenth of a percent.
      expect(Math.abs(Number(percent) / 100 - (top[k]?.probability ?? NaN))).toBeLessThan(1.5e-3);
    }
  }
});

test("test pictures are offered, and several are answered at once beside the teacher", async () => {
  await page
    .getByRole("group", { name: "Test pictures" })
    .getByRole("button", { name: /^Test picture/ })
    .first()
    .waitFor();
  await page.getByRole("button", { name: "All of these" }).click();
  await expect
    .poll(() => page.getByRole("region", { name: /^teacher-0 on test picture/ }).count(), { timeout: 60_000 })
    .toBe(8);
  expect(await page.getByRole("region", { name: /^win-0 on test picture/ }).count()).toBe(8);
  await page.getByLabel("teacher-0 beside it").uncheck();
  await page.waitForURL(/beside=0/);
  await page.getByLabel("Answers of").selectOption("vanilla-0");
  await page
    .getByRole("group", { name: "Test pictures" })
    .getByRole("button", { name: /^Test picture/ })
    .first()
    .click();
  await page.getByRole("region", { name: /^vanilla-0 on test picture/ }).waitFor();
});

test("what a member says of the test pictures is looked at, and is what the program says", async () => {
  await page.getByRole("link", { name: "Answers" }).click();
  await page
    .getByRole("region", { name: "Answers", exact: true })
    .getByRole("combobox")
    .selectOption("win-0");
  await page.getByRole("img", { name: /^Confusion matrix of 10 classes/ }).waitFor();
  const id = new URL(page.url()).pathname.split("/").pop() ?? "";
  const member = path.join(server.folder, "runs", id, "members", "win-0");
  const told = execFileSync(PROGRAM, ["eval", member, "--json"], { encoding: "utf8" });
  const { review } = JSON.parse(told) as {
    review: { ece: number; confusion: number[][]; mistakes: { index: number }[] };
  };
  await page.getByText(`${review.ece.toFixed(2)} %`).waitFor();
  expect(await page.locator("svg rect.good, svg rect.bad").count()).toBe(review.confusion.length);
  if (review.mistakes.length > 0) {
    const shown = page.getByRole("region", { name: "Wrong, and sure of it" }).locator("img");
    await expect.poll(() => shown.count(), { timeout: 30_000 }).toBe(review.mistakes.length);
    await expect
      .poll(
        () => shown.evaluateAll((all) => all.every((image) => (image as HTMLImageElement).naturalWidth > 0)),
        { timeout: 30_000 },
      )
      .toBe(true);
  }
  const saving = page.waitForEvent("download");
  await page.getByRole("region", { name: "Confusion matrix" }).getByRole("button", { name: "PNG" }).click();
  expect((await saving).suggestedFilename()).toMatch(/win-0-confusion\.png$/);
  await page.getByLabel("win-0 and").selectOption("vanilla-0");
  await page.getByText(/McNemar/).waitFor();
});

test("a grid is started from a run's page", async () => {
  await page.getByRole("link", { name: "Set-up" }).click();
  const grid = page.getByRole("region", { name: "Start a grid" });
  await grid.getByLabel("Key").first().fill("no.key");
  await grid.getByRole("button", { name: /^Start/ }).click();
  await grid.getByRole("alert").filter({ hasText: "no key" }).waitFor();
  await grid.getByLabel("Key").first().fill("vanilla.lr");
  await grid
    .getByLabel(/^Values/)
    .first()
    .fill("0.05, 0.1");
  await grid.getByRole("button", { name: "Start 2 runs" }).click();
  await page.waitForURL(/\/compare\?runs=\w+,\w+/);
  await page.getByRole("link", { name: /lr=0\.05/ }).waitFor();
  const ids = new URL(page.url()).searchParams.get("runs")?.split(",") ?? [];
  expect(ids.length).toBe(2);
  // Who looks at runs that are deleted is told so.
  await page.goto(server.origin);
  const headers = { "content-type": "application/json" };
  for (const id of ids) {
    await context.request.post(`${server.origin}/api/runs/${id}/cancel`, { headers, data: {} });
    await expect
      .poll(async () => (await context.request.delete(`${server.origin}/api/runs/${id}`)).status(), {
        timeout: 30_000,
      })
      .toBe(204);
  }
});

test("a finished run is compared, cloned and deleted", async () => {
  await page.goto(server.origin);
  await page.getByRole("checkbox", { name: "Select the demo" }).check();
  await page.getByRole("link", { name: "Compare" }).click();
  await page.getByText(/equal cost/i).waitFor();
  expect(await page.locator("td.method").allTextContents()).toEqual(["teacher", "vanilla", "win"]);
  await picture("compare");
  await page.getByRole("cell", { name: "win − vanilla" }).waitFor();
  // The curves over another x, and all of it as files.
  const curves = page.getByRole("region", { name: "Curves" });
  await curves.getByRole("combobox").nth(1).selectOption("epoch");
  await page.waitForURL(/x=epoch/);
  await page.locator(".legend", { hasText: "win" }).waitFor();
  for (const [button, begin] of [
    ["SVG", "<svg"],
    ["CSV", "curve,epoch"],
    ["PNG", "\u{fffd}PNG"],
  ] as const) {
    const saving = page.waitForEvent("download");
    await curves.getByRole("button", { name: button }).click();
    expect(readFileSync(await (await saving).path(), "utf8").slice(0, 20), button).toContain(begin);
  }
  await page.getByRole("button", { name: "Measure now" }).click();
  await page
    .getByRole("cell", { name: /llvmpipe|GPU|Radeon|Intel|NVIDIA/i })
    .first()
    .waitFor({ timeout: 120_000 });
  await page.getByLabel("Sort by").selectOption("Latency");
  await page.waitForURL(/sort=Latency/);
  await page.goBack();
  await page.getByRole("link", { name: "the demo" }).click();
  const original = page.url();
  await page.getByRole("link", { name: "Set-up" }).click();
  await page.getByRole("list", { name: "What was read" }).getByRole("listitem").first().waitFor();
  await page.goBack();
  await page.getByRole("button", { name: "clone" }).click();
  await page.waitForURL((url) => url.href !== original && url.pathname.startsWith("/runs/"));
  await badge().filter({ hasText: "draft" }).waitFor();
  await page.getByRole("button", { name: "Rename, tags, notes" }).click();
  await page.getByRole("textbox", { name: "Name", exact: true }).fill("a copy");
  await page.getByRole("textbox", { name: "Tags" }).fill("thin, second try");
  await page.getByRole("textbox", { name: "Notes" }).fill("To be deleted.");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "a copy" }).waitFor();
  await page.getByRole("button", { name: "delete" }).click();
  await page.waitForURL(`${server.origin}/`);
  // Taken back, it is there again, and is found by its tag.
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByRole("button", { name: "second try" }).click();
  await page.getByRole("checkbox", { name: "Select all" }).check();
  await page.getByText("1 selected").waitFor();
  await page.getByRole("button", { name: "delete" }).click();
  await page.getByText("a copy is deleted.").waitFor();
  // Leaving the page is no way back.
  await page.goto(server.origin);
  await expect.poll(() => page.getByRole("link", { name: "a copy" }).count()).toBe(0);
});

test("runs wait in a queue, which is put in order by buttons and by keys; one is paused and goes on", async () => {
  const make = async (name: string, epochs: number) => {
    const made = await context.request.post(`${server.origin}/api/runs`, {
      headers: { origin: server.origin },
      data: { preset: "demo", name, set: { methods: ["vanilla"], seeds: [0], "vanilla.epochs": epochs } },
    });
    expect(made.status(), await made.text()).toBe(201);
  };
  await make("long", 10_000);
  for (const name of ["one", "two", "three"]) await make(name, 1);
  await page.goto(server.origin);
  const names = () => page.locator("ol li > a").allTextContents();
  await expect.poll(names).toEqual(["one", "two", "three"]);
  await page.getByRole("button", { name: "Move three to the front" }).click();
  await expect.poll(names).toEqual(["three", "one", "two"]);
  await page.locator("li", { hasText: "three" }).focus();
  await page.keyboard.press("Alt+ArrowDown");
  await expect.poll(names).toEqual(["one", "three", "two"]);
  await page.keyboard.press("Alt+End");
  await expect.poll(names).toEqual(["one", "two", "three"]);
  await picture("runs");
  for (const name of ["one", "two", "three", "long"]) {
    await page.locator("td").getByRole("link", { name, exact: true }).click();
    if (name === "long") {
      await page.getByRole("button", { name: "pause" }).click();
      await badge().filter({ hasText: "paused" }).waitFor({ timeout: 60_000 });
      await page.getByRole("button", { name: "resume" }).click();
      await badge().filter({ hasText: "running" }).waitFor({ timeout: 60_000 });
    }
    await page.getByRole("button", { name: "cancel" }).click();
    await page.getByRole("button", { name: "Cancel the run" }).click();
    await badge().filter({ hasText: "cancelled" }).waitFor();
    await page.goBack();
  }
  await expect.poll(names).toEqual([]);
});

test("every view fits a phone, in the dark", async () => {
  const small = await browser.newContext({
    viewport: { width: 390, height: 844 },
    colorScheme: "dark",
    deviceScaleFactor: 1,
  });
  const phone = await small.newPage();
  listen(phone);
  await phone.goto(server.origin);
  const href = await phone.getByRole("link", { name: "the demo" }).getAttribute("href");
  for (const path of [
    "/",
    "/new?preset=demo",
    "/datasets",
    "/devices",
    ...["", "blocks", "answers", "files", "try", "logs", "setup"].map((tab) => `${href}?tab=${tab}`),
  ]) {
    await phone.goto(server.origin + path);
    await phone.waitForTimeout(700);
    const over = await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(over, path).toBeLessThanOrEqual(0);
    if (path === `${href}?tab=`) await picture("phone", phone);
  }
  await small.close();
});

end();
