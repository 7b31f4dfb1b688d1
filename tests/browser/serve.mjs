// Chromium and the page's modules, for tests: Vite serves `web/` as it is, and a folder of a test at `/test/`.

import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const web = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)),
  "../../web",
);
const { resolve } = createRequire(path.join(web, "package.json"));
const { createServer } = await import(pathToFileURL(resolve("vite")));
const playwright = await import(pathToFileURL(resolve("playwright-core")));
const { chromium } = playwright.default;

/** Milliseconds after which nothing more is waited for: a wrong flag makes Chromium hang for ever. */
const PATIENCE = 120_000;

/** SwiftShader's adapter, on machines with a GPU too: the same everywhere. */
export const WEBGPU = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
];

/** What the page opens of the folder `model` at `/test/`. */
export const source = (model) =>
  Object.fromEntries(
    [
      ["plan", "plan.json"],
      ["weights", "model.safetensors"],
      ["config", "config.json"],
      ["tokenizer", "tokenizer.json"],
    ].map(([part, name]) => [part, `/test/${model}/${name}`]),
  );

/** Calls `work` with a function that opens pages in a browser of these flags and the folder served at `/test/`. */
export async function browse(folder, flags, work) {
  const files = {
    name: "test-folder",
    configureServer(server) {
      server.middlewares.use("/test", (request, response) => {
        const file = path.join(
          folder,
          path.normalize(new URL(request.url, "http://x").pathname),
        );
        createReadStream(file)
          .on("error", () => response.writeHead(404).end())
          .pipe(response);
      });
    },
  };
  const server = await createServer({
    root: web,
    configFile: path.join(web, "vite.config.ts"),
    logLevel: "error",
    plugins: [files],
    server: { host: "127.0.0.1", port: 0, hmr: false, watch: null, proxy: {} },
  });
  await server.listen();
  const origin = `http://127.0.0.1:${server.httpServer.address().port}`;
  const browser = await chromium.launch({
    executablePath: process.env.TAPER_CHROMIUM ?? "/usr/bin/chromium",
    args: flags,
    // It brings a driver of its own: what hides this machine's from `taper` is not meant for it.
    env: { ...process.env, VK_DRIVER_FILES: undefined, VK_ICD_FILENAMES: undefined },
    timeout: PATIENCE,
  });
  try {
    // Pages of one context see the same private files of their origin.
    const context = await browser.newContext({ baseURL: origin });
    return await work(async (at) => {
      const page = await context.newPage();
      page.setDefaultTimeout(PATIENCE);
      page.on("console", (message) =>
        console.error(`console: ${message.text()}`),
      );
      page.on("pageerror", (error) => console.error(`page: ${error}`));
      await page.goto(at);
      return page;
    });
  } finally {
    await browser.close();
    await server.close();
  }
}
