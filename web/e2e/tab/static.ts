import { readFileSync, renameSync } from "node:fs";
import { createServer, type Server } from "node:http";
import path from "node:path";

import { build } from "vite";

const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
  ".wasm": "application/wasm",
};

/** Serves the files of a folder below a path, as any web server would: nothing else, and no header of ours. */
export function serve(folder: string, below: string): Promise<{ origin: string; server: Server }> {
  const server = createServer(({ url = "" }, answer) => {
    const { pathname } = new URL(url, "http://localhost");
    const name = pathname.startsWith(below) ? pathname.slice(below.length) || "index.html" : "";
    try {
      const file = readFileSync(path.join(folder, path.normalize(`/${name}`)));
      answer.writeHead(200, { "content-type": TYPES[path.extname(name)] ?? "application/octet-stream" });
      answer.end(file);
    } catch {
      answer.writeHead(404).end();
    }
  });
  return new Promise((done) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      done({ origin: `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`, server });
    });
  });
}

/** Builds the page of the tab into a folder, as `cargo xtask tab` does; `change` is what a test has another way in the trainer's source. */
export async function built(out: string, change: (code: string) => string = (code) => code): Promise<string> {
  await build({
    root: path.resolve(import.meta.dirname, "../.."),
    mode: "tab",
    logLevel: "warn",
    build: { outDir: out, emptyOutDir: true },
    plugins: [
      {
        name: "change",
        enforce: "pre",
        transform: (code, id) => (id.endsWith("/tab/trainer.svelte.ts") ? change(code) : null),
      },
    ],
  });
  renameSync(path.join(out, "tab.html"), path.join(out, "index.html"));
  return out;
}
