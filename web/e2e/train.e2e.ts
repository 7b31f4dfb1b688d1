/** A run in a tab from pictures to the student that is tried, taken on natively and back. It needs the engine of `cargo xtask tab`. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";

import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { PROGRAM } from "./server";
import { built, serve } from "./tab/static";
import { unzip } from "./zip";

/** A run of an earlier program, stopped in its second stage. */
const HALF_WAY = path.resolve(import.meta.dirname, "../../tests/earlier/half-way");
const ENGINE = path.resolve(import.meta.dirname, "../src/train/taper_tab.wasm");
const there = existsSync(ENGINE);
if (!there) console.warn("nothing is trained in a tab: there is no engine; `cargo xtask tab` builds it");
const SCREENSHOTS = process.env["SCREENSHOTS"];

/** A run of a second or two natively. */
const SHORT: Record<string, unknown> = {
  methods: ["win"],
  seeds: [0],
  "data.size": 8,
  "model.hidden": [8, 8, 8],
  "model.blocks": [1, 1, 1],
  ...Object.fromEntries(
    ["wide", "narrow", "tune"].flatMap((of) => [
      [`${of}.epochs`, 2],
      [`${of}.batch`, 16],
    ]),
  ),
};

const folder = mkdtempSync(path.join(tmpdir(), "taper-train-"));
const wrong: string[] = [];
let server: Server | undefined;
let address: string;
let browser: Browser | undefined;
let page: Page;

beforeAll(async () => {
  if (!there) return;
  const served = await serve(await built(path.join(folder, "page")), "/a/b/");
  [server, address] = [served.server, `${served.origin}/a/b/`];
  browser = await chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
  });
  page = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  page.setDefaultTimeout(200_000);
  page.on("pageerror", (error) => wrong.push(String(error)));
});

afterAll(async () => {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function picture(name: string): Promise<void> {
  if (!SCREENSHOTS) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`), fullPage: true });
}

/** What went wrong, if anything did, once one of these is there. */
async function waitFor(selector: string): Promise<void> {
  await page.locator(`${selector}, .notice.bad`).first().waitFor();
  expect(await page.locator(".notice.bad").allTextContents()).toEqual([]);
}

/** 48 pictures of two classes: what is bright is above, or below. */
function pictures(): string {
  const root = path.join(folder, "halves");
  for (const [k, kind] of ["above", "below"].entries()) {
    mkdirSync(path.join(root, kind), { recursive: true });
    for (let n = 0; n < 24; n += 1) {
      const pixels = Buffer.from(
        Array.from({ length: 64 }, (_, i) => (Number(i >= 32) === k ? 220 : 20) + ((i * 7 + n * 13) % 30)),
      );
      writeFileSync(
        path.join(root, kind, `${n}.pgm`),
        Buffer.concat([Buffer.from("P5\n8 8\n255\n"), pixels]),
      );
    }
  }
  return root;
}

const query = (set: Record<string, unknown>) =>
  Object.entries(set)
    .map(([key, value]) => `set=${encodeURIComponent(`${key}=${JSON.stringify(value)}`)}`)
    .join("&");

/** The zip of the run that is shown, unpacked into a folder. */
async function download(to: string): Promise<string> {
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download" }).click();
  const files = unzip(readFileSync(await (await saving).path()));
  for (const [name, bytes] of files) {
    mkdirSync(path.dirname(path.join(folder, to, name)), { recursive: true });
    writeFileSync(path.join(folder, to, name), bytes);
  }
  return path.join(folder, to, [...files.keys()][0]?.split("/")[0] ?? "");
}

/** Goes on with a run by the program, to its end. */
function natively(run: string): void {
  execFileSync(PROGRAM, ["run", "--resume", "--out", run], { stdio: "pipe" });
  const log = readFileSync(path.join(run, "events.jsonl"), "utf8").trim().split("\n");
  expect(JSON.parse(log.at(-1) as string)).toMatchObject({ type: "run_finished", status: "done" });
}

const DONE = "h1 + p .badge.done";

test.skipIf(!there)(
  "a native run that was stopped is taken on, to its end, and opened natively",
  async () => {
    const zip = path.join(folder, "native.zip");
    execFileSync("python3", ["-m", "zipfile", "-c", zip, HALF_WAY]);
    await page.goto(address);
    await page.locator("#run-zip").setInputFiles(zip);
    await page.waitForURL(/run=half-way/);
    await page.getByRole("button", { name: "Go on" }).click();
    await waitFor(DONE);
    await picture("train-native");
    natively(await download("back"));
  },
);

test.skipIf(!there)("a student is tried in the tab that trained it", async () => {
  await page.getByRole("button", { name: "win-0", exact: true }).last().click();
  await page.getByText("Making the network ready").waitFor({ state: "detached" });
  await waitFor("input[type=file]");
  await picture("train-try");
});

test.skipIf(!there)("dropped pictures are trained, stopped and gone on with", async () => {
  await page.goto(`${address}?${query(SHORT)}`);
  await waitFor("#pick-folder");
  await page.locator("#pick-folder").setInputFiles(pictures());
  await page.getByRole("radio", { name: "halves.tar" }).waitFor();
  await page.locator("#run-name").fill("halves");
  await waitFor(".notice.good");
  await picture("train-begin");
  await page.getByRole("button", { name: "Start" }).click();
  await page.getByRole("button", { name: "Stop" }).click();
  // A fast device is done before it hears of it.
  await waitFor(`h1 + p .badge.stopped, ${DONE}`);
  const run = await download("stopped");
  // The data stand where the configuration says: on the tab's own disk.
  const config = path.join(run, "config.toml");
  expect(readFileSync(config, "utf8")).toContain("/data/halves.tar");
  const goOn = page.getByRole("button", { name: "Go on" });
  if (await goOn.isVisible()) await goOn.click();
  await waitFor(DONE);
  await picture("train-done");
});

test.skipIf(!there)("a run that finds no room says so, and goes on when there is some", async () => {
  const session = await page.context().newCDPSession(page);
  const { origin } = new URL(address);
  await page.goto(
    `${address}?name=full&${query({ ...SHORT, "data.train_count": 512, "data.test_count": 64, "wide.epochs": 60 })}`,
  );
  await waitFor(".notice.good");
  await page.getByRole("button", { name: "Start" }).click();
  await page.locator(".legend li").first().waitFor();
  // Its words for that are the browser's own. Below what is used already, Chromium would throw all of it away.
  const used = await page.evaluate(async () => (await navigator.storage.estimate()).usage ?? 0);
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: used + 20_000 });
  await page.locator(".notice.bad").first().waitFor();
  expect(await page.locator(".notice.bad").first().textContent()).toContain("cannot write /runs/full/");
  await picture("train-full");
  await session.send("Storage.overrideQuotaForOrigin", { origin });
  await page.getByRole("button", { name: "Go on" }).click();
  // What was wrong is shown until it goes on.
  await page.locator(DONE).waitFor();
});

test.skipIf(!there)("nothing went wrong on the page meanwhile", () => {
  expect(wrong).toEqual([]);
});
