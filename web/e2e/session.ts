import { mkdirSync } from "node:fs";
import path from "node:path";

import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { Server } from "./server";

/**
 * The page against the real program: a server and a browser for each file of tests, which go on from each other.
 *
 * `SCREENSHOTS=DIR` writes the README's pictures on the way.
 */

const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const SCREENSHOTS = process.env["SCREENSHOTS"];

export let server: Server;
export let browser: Browser;
export let context: BrowserContext;
export let page: Page;
/** What the browser complains of: breaches of the content security policy, exceptions, failed requests. */
const complaints: string[] = [];
let down = false;

/** While the server is down, requests fail as they should. */
export function expectDown(is: boolean): void {
  down = is;
}

export function listen(page: Page): void {
  page.on("console", (message) => {
    if (message.type() === "error" && !down) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
}

/** Begins a file of tests. */
export function begin(): void {
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
}

/** Ends it: the last of its tests. */
export function end(): void {
  test("the browser had nothing to complain of", () => {
    // A 422 of the deliberate mistakes is logged by the browser itself.
    expect(complaints.filter((text) => !/status of 422|status of 400/.test(text))).toEqual([]);
  });
}

export async function picture(name: string, of: Page = page, height?: number): Promise<void> {
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

export const field = (name: string) => page.locator(`#field-${name}`);
export const badge = (of: Page = page) => of.locator("h1 + p .badge");
