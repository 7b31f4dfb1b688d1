import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import path from "node:path";

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
