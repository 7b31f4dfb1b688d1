/** The page that trains in a tab, as files of a plain web server below a path. A stand-in tells what was trained: the engine has its own tests. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";

import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { built, serve } from "./tab/static";
import { unzip } from "./zip";

const WEB = path.resolve(import.meta.dirname, "..");
const FINISHED = path.resolve(WEB, "../tests/earlier/finished");
/** Where the pictures of the page go; none are taken without it. */
const SCREENSHOTS = process.env["SCREENSHOTS"];
const BELOW = "/some/where/";

const folder = mkdtempSync(path.join(tmpdir(), "taper-tab-"));
const wrong: string[] = [];
let server: Server;
let address: string;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  const stand = (code: string) =>
    code
      .replace("../train/worker.ts", "../../e2e/tab/worker.ts")
      .replace("../train/taper_tab.wasm", "../icon.svg");
  const served = await serve(await built(path.join(folder, "page"), stand), BELOW);
  [server, address] = [served.server, served.origin + BELOW];
  browser = await chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium" });
  page = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") wrong.push(message.text());
  });
});

afterAll(async () => {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The page as it is, at a desk's width and at a phone's; on neither does it scroll sideways. */
async function picture(name: string): Promise<void> {
  for (const width of [1280, 400]) {
    await page.setViewportSize({ width, height: 900 });
    await page.waitForTimeout(300);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(wide, `${name} at ${width}`).toBeLessThanOrEqual(width);
    if (!SCREENSHOTS) continue;
    mkdirSync(SCREENSHOTS, { recursive: true });
    await page.screenshot({ path: path.join(SCREENSHOTS, `${name}-${width}.png`), fullPage: true });
  }
  await page.setViewportSize({ width: 1280, height: 900 });
}

const start = () => page.getByRole("button", { name: "Start" });
const badge = () => page.locator("h1 + p .badge");

test("a newcomer sees the presets and what a run needs", async () => {
  await page.goto(address);
  await page.getByText("A stand-in").waitFor();
  await page.getByText("No run yet.").waitFor();
  await page.getByText("Ready: everything fits.").waitFor();
  await page.getByText("A warning.").waitFor();
  await picture("tab-begin");
});

test("a bad name is refused, and so is what the worker says does not fit", async () => {
  await page.locator("#run-name").fill("../x");
  await page.getByText("beginning with a letter").waitFor();
  expect(await start().isDisabled()).toBe(true);
  await page.locator("#run-name").fill("");
  const search = page.getByRole("searchbox", { name: "Find a setting" });
  await search.fill("memory_budget");
  await page.locator("#field-memory_budget").fill("1000000");
  await page.getByText("this browser gives 2 GiB").waitFor();
  expect(await start().isDisabled()).toBe(true);
  await search.fill("");
  await page.getByRole("button", { name: "Reset memory_budget" }).click();
  await page.getByText("Ready: everything fits.").waitFor();
});

test("pictures that are chosen become the data", async () => {
  for (const [kind, name] of ["cats", "dogs"].flatMap((kind) => [1, 2].map((n) => [kind, `${n}.png`]))) {
    mkdirSync(path.join(folder, "My pets", kind as string), { recursive: true });
    writeFileSync(path.join(folder, "My pets", kind as string, name as string), `picture of ${kind}`);
  }
  await page.locator("#pick-folder").setInputFiles(path.join(folder, "My pets"));
  await page.getByRole("radio", { name: "My-pets.tar" }).waitFor();
  expect(await page.locator("#field-data-path").inputValue()).toBe("/data/My-pets.tar");
  const stored = await page.evaluate(async () => {
    const data = await (await navigator.storage.getDirectory()).getDirectoryHandle("data");
    const file = await (await data.getFileHandle("My-pets.tar")).getFile();
    return [...new Uint8Array(await file.arrayBuffer())];
  });
  const tar = path.join(folder, "stored.tar");
  writeFileSync(tar, Uint8Array.from(stored));
  expect(execFileSync("tar", ["-tf", tar], { encoding: "utf8" }).trim().split("\n")).toEqual([
    "cats/1.png",
    "cats/2.png",
    "dogs/1.png",
    "dogs/2.png",
  ]);
  await picture("tab-pictures");
});

test("a folder that is dropped becomes the data, unless this browser has no room", async () => {
  const session = await page.context().newCDPSession(page);
  await page.locator(".drop").scrollIntoViewIfNeeded();
  const box = await page.locator(".drop").boundingBox();
  if (!box) throw new Error("nothing to drop on");
  const drop = async () => {
    for (const type of ["dragEnter", "dragOver", "drop"] as const)
      await session.send("Input.dispatchDragEvent", {
        type,
        x: box.x + 10,
        // Its upper edge may be below the header.
        y: box.y + box.height - 10,
        data: { items: [], files: [path.join(folder, "My pets")], dragOperationsMask: 1 },
      });
  };
  const { origin } = new URL(address);
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1 });
  await drop();
  await page.getByText("This browser has no room for My-pets-2.tar").waitFor();
  await page.getByRole("button", { name: "Close this message" }).click();
  await session.send("Storage.overrideQuotaForOrigin", { origin });
  await drop();
  await page.getByRole("radio", { name: "My-pets-2.tar" }).waitFor();
  expect(await page.locator("#field-data-path").inputValue()).toBe("/data/My-pets-2.tar");
});

test("a run is started, watched, stopped and taken on to its end", async () => {
  await page.locator("#run-name").fill("pets");
  await page.getByText("Ready: everything fits.").waitFor();
  await start().click();
  await page.waitForURL(/run=pets/);
  await page.getByText("Keep this tab in sight").waitFor();
  await picture("tab-running");
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
    delete (document as { hidden?: boolean }).hidden;
  });
  await page.getByText("A checkpoint was asked for.").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Go on" }).waitFor();
  expect(await badge().textContent()).toBe("stopped");
  await page.reload();
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("button", { name: "win-0", exact: true }).waitFor();
  await page.locator("h1 + p .badge.done").waitFor();
  await page.getByText("Merge error").waitFor();
  await picture("tab-done");
});

test("what its members say of the test pictures is looked at in this tab", async () => {
  await page.getByRole("img", { name: /^Confusion matrix of 2 classes/ }).waitFor();
  await page.getByText("cats, said dogs with 88.2 %").waitFor();
  const drawn = page.getByLabel("Test picture 1").first();
  const pixels = await drawn.evaluate((canvas) => {
    const { data } = (canvas as HTMLCanvasElement).getContext("2d")?.getImageData(0, 0, 2, 1) ?? {};
    return [...(data ?? [])];
  });
  expect(pixels).toEqual([0, 0, 0, 255, 255, 255, 255, 255]);
  await page.getByLabel("win-0 and").selectOption("kd-0");
  await page.getByRole("heading", { name: "Only win-0 has 1 right" }).waitFor();
  await picture("tab-answers");
  await page
    .getByRole("region", { name: "Answers", exact: true })
    .getByRole("combobox")
    .selectOption("teacher-0");
  await page.getByText("teacher-0 has no answers to test pictures.").waitFor();
});

test("a run goes down as a zip with the bytes of its disk", async () => {
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download" }).click();
  const download = await saving;
  expect(download.suggestedFilename()).toBe("pets.zip");
  const files = unzip(readFileSync(await download.path()));
  expect([...files.keys()]).toEqual(["pets/config.toml", "pets/events.jsonl"]);
  expect(files.get("pets/events.jsonl")).toEqual(readFileSync(path.join(FINISHED, "events.jsonl")));
});

test("a run of another machine is taken on, every byte of it, and deleted", async () => {
  const zip = path.join(folder, "native.zip");
  execFileSync("python3", ["-m", "zipfile", "-c", zip, FINISHED]);
  await page.goto(address);
  await page.locator("#run-zip").setInputFiles(zip);
  await page.waitForURL(/run=finished/);
  await page.locator("h1 + p .badge.done").waitFor();
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download" }).click();
  const files = unzip(readFileSync(await (await saving).path()));
  expect(files.size).toBeGreaterThan(20);
  for (const [name, bytes] of files)
    expect(bytes.equals(readFileSync(path.join(FINISHED, "..", name))), name).toBe(true);
  // What its student needs of the worker is asked for, and its refusal shown.
  await page.getByRole("button", { name: "win-0", exact: true }).last().click();
  await page.getByText("There is no plan of /runs/finished/members/win-0/artifacts here.").waitFor();
  await page.getByText("All runs in this tab").click();
  const row = page.getByRole("row", { name: /finished/ });
  await picture("tab-list");
  await row.getByRole("button", { name: "delete" }).click();
  await page.getByRole("button", { name: "Delete the run" }).click();
  await row.waitFor({ state: "detached" });
});

test("another tab is told that one trains already", async () => {
  await page.locator("#run-name").fill("one");
  await start().click();
  await page.getByText("Keep this tab in sight").waitFor();
  const other = await page.context().newPage();
  await other.goto(address);
  await other.getByText("Ready: everything fits.").waitFor();
  await other.getByRole("button", { name: "Start" }).click();
  await other.getByText("Another tab of this browser trains already").waitFor();
  await other.close();
  await page.bringToFront();
});

test("nothing went wrong on the page meanwhile", () => {
  expect(wrong).toEqual([]);
});
