// node benches/tab.mjs FOLDER WORK...: how fast the page of `cargo xtask tab` trains in Chromium, on its software adapter.
//
// A WORK is a query of the page without the name: `preset=demo&set=...`. Prints a JSON line with the size of the page, and one for each WORK
// that has the log of its run in `log` and, in milliseconds, what it took until the engine was there and until the run was begun.
import { createReadStream, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

const [folder, ...works] = process.argv.slice(2);
const { resolve } = createRequire(new URL("../web/package.json", import.meta.url));
const { chromium } = (await import(pathToFileURL(resolve("playwright-core")))).default;

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };

const server = createServer(({ url = "" }, answer) => {
  const name = new URL(url, "http://localhost").pathname.slice(1) || "index.html";
  const file = createReadStream(path.join(folder, path.normalize(`/${name}`)));
  file.on("open", () => answer.writeHead(200, { "content-type": TYPES[path.extname(name)] ?? "application/octet-stream" }));
  file.on("error", () => answer.writeHead(404).end()).pipe(answer);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const origin = `http://127.0.0.1:${server.address().port}/`;

/** All that the page is made of; icons and fonts are not waited for. */
function size() {
  const names = readdirSync(folder, { recursive: true }).filter((name) => statSync(path.join(folder, name)).isFile());
  const bytes = { engine: 0, engine_gzip: 0, page: 0, page_gzip: 0 };
  for (const name of names.filter((name) => path.extname(name) in TYPES)) {
    const file = readFileSync(path.join(folder, name));
    const of = name.endsWith(".wasm") ? "engine" : "page";
    bytes[of] += file.length;
    bytes[`${of}_gzip`] += gzipSync(file).length;
  }
  return bytes;
}

/** In the page: the log of a run, if it has ended. */
async function log(name) {
  const root = await navigator.storage.getDirectory();
  const runs = await root.getDirectoryHandle("runs").catch(() => null);
  const run = await runs?.getDirectoryHandle(name).catch(() => null);
  const file = await run?.getFileHandle("events.jsonl").catch(() => null);
  const text = await (await file?.getFile())?.text();
  return text?.includes('"type":"run_finished"') ? text : null;
}

async function train(page, query, name) {
  const begun = Date.now();
  await page.goto(`${origin}?${query}&name=${name}`);
  // The engine is there when it has looked at the configuration.
  await page.locator(".notice.good, .notice.bad").first().waitFor();
  const bad = await page.locator(".notice.bad").allTextContents();
  if (bad.length > 0) throw new Error(bad.join(" "));
  const opened = Date.now();
  await page.getByRole("button", { name: "Start" }).click();
  for (;;) {
    const text = await page.evaluate(log, name);
    if (text) return { begun, opened, log: text.trim().split("\n").map((line) => JSON.parse(line)) };
    const failed = await page.locator(".notice.bad").allTextContents();
    if (failed.length > 0) throw new Error(failed.join(" "));
    await new Promise((done) => setTimeout(done, 1000));
  }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
});
try {
  console.log(JSON.stringify(size()));
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(300_000);
  for (const [n, work] of works.entries()) {
    const { begun, opened, log: entries } = await train(page, work, `bench-${n}`);
    const first = entries.find(({ type }) => type === "step");
    const [started] = entries;
    console.log(
      JSON.stringify({
        opening_ms: opened - begun,
        first_step_ms: Math.round((first.time - started.time) * 1000),
        steps: entries
          .filter(({ type }) => type === "step")
          .map(({ member, stage, stage_step, time }) => ({ member, stage, stage_step, time })),
      }),
    );
  }
} finally {
  await browser.close();
  server.close();
}
