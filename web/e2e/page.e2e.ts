import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { type Browser, type BrowserContext, chromium, type Locator, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { PROGRAM, Server } from "./server";
import { zipOf } from "../src/tab/zip";
import { classes, idx, tar, unzip } from "./zip";

/**
 * The page against the real program: a run is set up, watched from its first step to its last, and downloaded.
 *
 * `SCREENSHOTS=DIR` writes the README's pictures on the way.
 */

const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const SCREENSHOTS = process.env["SCREENSHOTS"];

/** A demo that trains in a minute or two on two cores: two methods, one seed, short stages. */
const SHORT: Record<string, string> = {
  seeds: "0",
  "wide-epochs": "15",
  "vanilla-epochs": "12",
  "narrow-epochs": "2",
  "tune-epochs": "4",
};

let server: Server;
let browser: Browser;
let context: BrowserContext;
let page: Page;
/** The files of the run's model. */
let downloaded = new Map<string, Buffer>();
/** What the browser complains of: breaches of the content security policy, exceptions, failed requests. */
const complaints: string[] = [];
/** While the server is down, requests fail as they should. */
let down = false;

function listen(page: Page): void {
  page.on("console", (message) => {
    if (message.type() === "error" && !down) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
}

beforeAll(async () => {
  server = await Server.start();
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
    // It brings a driver of its own: what hides this machine's from `taper` is not meant for it.
    env: { ...process.env, VK_DRIVER_FILES: undefined, VK_ICD_FILENAMES: undefined },
  });
  context = await browser.newContext({
    viewport: { width: 1280, height: 860 },
    colorScheme: "light",
    acceptDownloads: true,
  });
  page = await context.newPage();
  page.setDefaultTimeout(30_000);
  listen(page);
});

afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

async function picture(name: string, of: Page = page, height?: number): Promise<void> {
  if (!SCREENSHOTS) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  const usual = of.viewportSize();
  if (height && usual) {
    await of.setViewportSize({ ...usual, height });
    await of.evaluate(() => scrollTo(0, 0));
    await of.waitForTimeout(500);
  }
  await of.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`) });
  if (height && usual) await of.setViewportSize(usual);
}

const field = (name: string) => page.locator(`#field-${name}`);
const badge = (of: Page = page) => of.locator("h1 + p .badge");

/** Sets the short demo up on the page. */
async function setUp(name: string): Promise<void> {
  await page.goto(`${server.origin}/new?preset=demo&form=all`);
  await page.locator("#run-name").fill(name);
  for (const method of ["kd", "fitnets", "start_only"])
    await page.getByRole("checkbox", { name: method }).uncheck();
  for (const [key, value] of Object.entries(SHORT)) await field(key).fill(value);
}

test("an empty server says what to do first", async () => {
  await page.goto(server.origin);
  await page.getByText("No run yet.").waitFor();
  await page.getByRole("status").getByText("live").waitFor();
});

test("devices are listed with their limits, and a CPU is called one", async () => {
  await page.goto(`${server.origin}/devices`);
  await page.getByRole("button", { name: "Self-test" }).first().waitFor();
  expect(await page.getByText("Limits").count()).toBeGreaterThan(0);
  await page.getByRole("button", { name: "Self-test" }).first().click();
  await page.getByText("Passed").waitFor({ timeout: 200_000 });
});

test("the form begins with what matters, finds the rest, and leads to what is wrong", async () => {
  await page.goto(`${server.origin}/new?preset=demo`);
  await page.getByText("Ready: everything fits.").first().waitFor();
  const fields = page.locator(".form .field");
  expect(await fields.count()).toBeLessThanOrEqual(12);
  const search = page.getByRole("searchbox", { name: "Find a setting" });
  await search.fill("tune.weight decay");
  await field("tune-weight_decay").waitFor();
  expect(await fields.count()).toBe(1);
  await search.fill("memory budget");
  await field("memory_budget").fill("1000");
  await search.fill("");
  // What was changed stays in sight, and the verdict names it.
  await field("memory_budget").waitFor();
  await page.evaluate(() => {
    scrollTo(0, 0);
  });
  await page.getByRole("button", { name: "Go to memory_budget" }).click();
  await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("field-memory_budget");
  await page.getByRole("button", { name: "Reset memory_budget" }).click();
  await page.getByRole("button", { name: /^all \d/ }).click();
  await page.getByRole("button", { name: "Baselines" }).click();
  await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toBe("Baselines");
  await page.getByRole("checkbox", { name: "fitnets" }).uncheck();
  await page.getByText("[fitnets] is for methods that this run does not have").waitFor();
});

test("a bad value is refused beside its field, and the address carries the form", async () => {
  await page.goto(`${server.origin}/new?preset=demo&form=all`);
  await page.getByText("Ready: everything fits.").first().waitFor();
  await field("tune-lr").fill("-1");
  await page.getByText("at least 0").waitFor();
  expect(await page.getByRole("button", { name: "Start" }).isDisabled()).toBe(true);
  await field("tune-lr").fill("0.01");
  await page.getByText("at least 0").waitFor({ state: "detached" });
  expect(page.url()).toContain("set=tune.lr%3D0.01");
  // What the page cannot know, the server says: hidden layers and blocks have to agree.
  await field("model-blocks").fill("3, 3");
  await page.locator(".field.wrong").first().waitFor();
  await page.reload();
  await field("tune-lr").waitFor();
  expect(await field("tune-lr").inputValue()).toBe("0.01");
  await page.getByRole("button", { name: "Reset model.blocks" }).click();
  await page.getByText("Ready: everything fits.").first().waitFor();
  expect(page.url()).not.toContain("model.blocks");
});

test("the configuration goes down as TOML and comes up again", async () => {
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save TOML" }).click();
  const toml = readFileSync(await (await saving).path(), "utf8");
  expect(toml).toMatch(/\[tune\][^[]*lr = 0\.01/);
  await page.goto(`${server.origin}/new?preset=demo&form=all`);
  await field("tune-lr").waitFor();
  const file = { name: "mine.toml", mimeType: "application/toml", buffer: Buffer.from(toml) };
  await page.locator("#toml-file").setInputFiles(file);
  await page.waitForURL(/set=tune\.lr%3D0\.01/);
  expect(await page.locator("code").filter({ hasText: "taper run demo" }).first().textContent()).toContain(
    "--set tune.lr=0.01",
  );
  await page.locator("#toml-file").setInputFiles({ ...file, buffer: Buffer.from("[tune]\nlrr = 1\n") });
  await page.getByRole("alert").filter({ hasText: "lrr" }).waitFor();
});

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
  down = true;
  await server.end("SIGKILL");
  await page.getByRole("status").getByText("reconnecting").waitFor();
  await server.begin();
  await page.getByRole("status").getByText("live").waitFor({ timeout: 60_000 });
  down = false;
  await badge()
    .filter({ hasText: /running|queued|done/ })
    .waitFor({ timeout: 60_000 });
});

test("all stages are gone through, and the merge is proved", async () => {
  await badge().filter({ hasText: "done" }).waitFor({ timeout: 200_000 });
  const lane = page.getByRole("button", { name: /^win-0/ });
  // The stream tells the badge; the stages are fetched after it.
  await expect.poll(() => lane.locator(".stage.done").count(), { timeout: 10_000 }).toBe(6);
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

test("a data set is uploaded, looked at, and deleted", async () => {
  const [train, test] = [idx(200, 12), idx(50, 12)];
  const archive = tar(
    new Map([
      ["train-images-idx3-ubyte", train.images],
      ["train-labels-idx1-ubyte", train.labels],
      ["t10k-images-idx3-ubyte", test.images],
      ["t10k-labels-idx1-ubyte", test.labels],
    ]),
  );
  await page.goto(`${server.origin}/datasets`);
  await page
    .locator("#archive")
    .setInputFiles({ name: "squares.tar", mimeType: "application/x-tar", buffer: archive });
  await page.getByRole("button", { name: "Upload" }).click();
  await page.locator(".samples img").first().waitFor();
  await expect
    .poll(() =>
      page
        .locator(".samples img")
        .evaluateAll((images) => images.every((image) => (image as HTMLImageElement).naturalWidth > 0)),
    )
    .toBe(true);
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete the data set" }).click();
  await expect.poll(() => page.getByText("squares", { exact: true }).count()).toBe(0);
});

/** Changes of the form's that make a run on pictures last seconds. */
const QUICK = Object.entries({
  "data.size": 16,
  "wide.epochs": 4,
  "vanilla.epochs": 4,
  "narrow.epochs": 0.25,
  "tune.epochs": 3,
});
const inAddress = (set: [string, unknown][]) =>
  set.map(([key, value]) => `&set=${encodeURIComponent(`${key}=${JSON.stringify(value)}`)}`).join("");

test("own pictures in a zip of class folders come to a model that is downloaded", async () => {
  const files = [...classes(20, 24)].map(([name, data]) => ({
    name,
    file: new Blob([new Uint8Array(data)]),
  }));
  const buffer = Buffer.from(await (await zipOf(files)).arrayBuffer());
  await page.goto(`${server.origin}/datasets`);
  await page.locator("#archive").setInputFiles({ name: "flowers.zip", mimeType: "application/zip", buffer });
  await page.getByRole("button", { name: "Upload" }).click();
  await page.getByText("12 of 60 pictures are held out for testing").waitFor();
  const row = page.locator("tr").filter({ hasText: "flowers" }).first();
  expect(
    (await row.locator("td").allTextContents())
      .slice(2, 5)
      .map((text) => text.trim().replaceAll(/\s+/g, " ")),
  ).toEqual(["48", "12 held out", "3"]);
  expect(await page.locator(".classes .num").allTextContents()).toEqual(["16 + 4", "16 + 4", "16 + 4"]);
  await page.locator(".samples img").first().waitFor();

  await row.getByRole("link", { name: "Use" }).click();
  await page.getByRole("heading", { name: "Chosen by your pictures" }).waitFor();
  await page.getByText("the shorter sides have 24 pixels").waitFor();
  expect(await field("data-size").inputValue()).toBe("24");
  await page.getByText("Ready: everything fits.").waitFor({ timeout: 60_000 });
  // Another preset keeps the pictures, and says what it had to give up for them.
  await page.getByRole("radio", { name: /^cifar10-resnet-thin/ }).check({ force: true });
  await page.getByText("asks for 10,000 training images, and flowers has 60 in all").waitFor();
  expect(await field("data-path").inputValue()).toBe("dataset:flowers");
  await page.getByText("Ready: everything fits.").waitFor({ timeout: 60_000 });
  await page.goBack();
  await page.getByRole("heading", { name: "Chosen by your pictures" }).waitFor();

  await page.goto(`${page.url()}${inAddress(QUICK)}`);
  await page.locator("#run-name").fill("blooms");
  await page.getByText("Ready: everything fits.").waitFor({ timeout: 60_000 });
  await page.getByRole("button", { name: "Start" }).click();
  await page.waitForURL(/\/runs\//);
  await badge().filter({ hasText: "done" }).waitFor({ timeout: 200_000 });
  const zip = await context.request.get(`${page.url().replace("/runs/", "/api/runs/")}/artifacts.zip`);
  const model = unzip(await zip.body());
  const config = [...model].find(([name]) => name.endsWith("/config.json"))?.[1].toString("utf8") ?? "";
  const { size, labels } = JSON.parse(config) as { size: number; labels: string[] };
  expect([size, labels]).toEqual([16, ["iris", "lily", "rose"]]);
});

test("a model that was downloaded teaches other classes, with a new head", async () => {
  const listed = (await (await context.request.get(`${server.origin}/api/runs`)).json()) as {
    runs: { id: string; name: string }[];
  };
  const id = listed.runs.find(({ name }) => name === "blooms")?.id;
  const zip = await context.request.get(`${server.origin}/api/runs/${id}/artifacts.zip`);
  const files = [...classes(20, 16)]
    .filter(([name]) => !name.includes("lily"))
    .map(([name, data]) => ({ name, file: new Blob([new Uint8Array(data)]) }));
  const buffer = Buffer.from(await (await zipOf(files)).arrayBuffer());
  await page.goto(`${server.origin}/datasets`);
  await page.locator("#archive").setInputFiles({ name: "pair.zip", mimeType: "application/zip", buffer });
  await page.getByRole("button", { name: "Upload" }).click();
  await page.getByText("8 of 40 pictures are held out for testing").waitFor();
  const row = page.locator("tr").filter({ hasText: "pair" }).first();
  await row.getByRole("link", { name: "Use" }).click();
  await page.getByRole("heading", { name: "Chosen by your pictures" }).waitFor();
  await page.goto(`${page.url()}${inAddress(QUICK)}`);
  await page.locator("#run-name").fill("pupil");
  await page.locator("#teacher-file").setInputFiles({
    name: "Blooms (1).zip",
    mimeType: "application/zip",
    buffer: await zip.body(),
  });
  await expect
    .poll(() => page.locator("#teacher-choice").inputValue(), { timeout: 60_000 })
    .toBe("teacher:blooms-1");
  // It tells three classes apart: this is refused beside its field, with what helps.
  await page.getByText("which the data lack").first().waitFor({ timeout: 60_000 });
  await page.getByText("gives it a head for these classes").first().waitFor();
  await page
    .getByRole("group", { name: "head", exact: true })
    .getByRole("button", { name: "new", exact: true })
    .click();
  await page.getByText("its head for 3 classes gives way to a fresh one for the 2 of the data").waitFor({
    timeout: 60_000,
  });
  await page.getByText("Ready: everything fits.").waitFor({ timeout: 60_000 });
  await page.getByRole("button", { name: "Start" }).click();
  await page.waitForURL(/\/runs\//);
  await badge().filter({ hasText: "done" }).waitFor({ timeout: 200_000 });
  const run = (await (await context.request.get(page.url().replace("/runs/", "/api/runs/"))).json()) as {
    members: { member: string; accuracy: number | null }[];
    stages: { member: string; stage: string }[];
  };
  expect(run.members.find(({ member }) => member === "teacher-0")?.accuracy).toBeGreaterThan(0);
  expect(run.stages.filter(({ member }) => member === "teacher-0").map(({ stage }) => stage)).toEqual([
    "head",
    "wide",
  ]);
});

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

test("a server for others asks for its token, once", async () => {
  const others = await Server.start("0.0.0.0");
  const guest = await browser.newContext();
  try {
    const token = /token: (\S+)/.exec(others.log)?.[1] ?? "";
    expect(token.length).toBeGreaterThanOrEqual(22);
    const tab = await guest.newPage();
    await tab.goto(`${others.origin}/devices`);
    await tab.getByLabel("Token").fill("no such token");
    await tab.getByRole("button", { name: "Enter" }).click();
    await tab.getByRole("alert").waitFor();
    await tab.getByLabel("Token").fill(token);
    await tab.getByRole("button", { name: "Enter" }).click();
    await tab.getByRole("button", { name: "Self-test" }).first().waitFor();
    await tab.getByRole("status").getByText("live").waitFor();
    await tab.reload();
    await tab.getByRole("button", { name: "Self-test" }).first().waitFor();
    // The address that was printed enters as well, and shows its token to nobody.
    const other = await browser.newContext();
    const entered = await other.newPage();
    await entered.goto(`${others.origin}/devices#token=${token}`);
    await entered.getByRole("button", { name: "Self-test" }).first().waitFor();
    expect(entered.url()).toBe(`${others.origin}/devices`);
    await other.close();
    // The cookie is not for scripts, and the token stands nowhere.
    expect(
      await tab.evaluate(() => document.cookie + JSON.stringify(localStorage) + location.href),
    ).not.toContain(token);
  } finally {
    await guest.close();
    await others.remove();
  }
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

test("the browser had nothing to complain of", () => {
  // A 422 of the deliberate mistakes is logged by the browser itself.
  const real = complaints.filter((text) => !/status of 422|status of 400/.test(text));
  if (real.length > 0) writeFileSync(path.join(server.folder, "complaints.txt"), real.join("\n"));
  expect(real).toEqual([]);
});
