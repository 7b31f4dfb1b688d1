import { readFileSync } from "node:fs";

import { svelte } from "@sveltejs/vite-plugin-svelte";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Where `npm run dev` finds the server; the built page is served by it and needs no such thing. */
const server = process.env["TAPER_SERVER"] ?? "http://127.0.0.1:7878";

/** The schema of a configuration out of the server's document, whose references are those of a schema by itself: a page without a server has it. */
function configSchema(): Plugin {
  const [name, own] = ["virtual:config-schema", "\0config-schema"];
  type Schemas = Record<string, object>;
  return {
    name: "config-schema",
    resolveId: (id) => (id === name ? own : null),
    load(id) {
      if (id !== own) return null;
      const path = new URL("src/generated/openapi.json", import.meta.url);
      this.addWatchFile(path.pathname);
      const document = JSON.parse(readFileSync(path, "utf8")) as { components: { schemas: Schemas } };
      const needed: Schemas = {};
      const take = (name: string) => {
        const schema = document.components.schemas[name];
        if (name in needed || !schema) return;
        const text = JSON.stringify(schema);
        needed[name] = JSON.parse(text.replaceAll("#/components/schemas/", "#/$defs/")) as object;
        for (const [, other] of text.matchAll(/#\/components\/schemas\/(\w+)/g)) take(other as string);
      };
      take("Config");
      const { Config: config, ...$defs } = needed;
      return `export default JSON.parse(${JSON.stringify(JSON.stringify({ ...config, $defs }))})`;
    },
  };
}

/** What the page by itself may load, where no server of ours says it. Its worker's script has no policy then. */
const POLICY = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** The policy as an element of the built page. */
function policy(): Plugin {
  const attrs = { "http-equiv": "Content-Security-Policy", content: POLICY };
  return {
    name: "policy",
    apply: "build",
    transformIndexHtml: () => [{ tag: "meta", attrs, injectTo: "head-prepend" }],
  };
}

/** `vite build --mode tab`: tab.html as a folder of files for any web server, below any path. */
const TAB = "tab";

export default defineConfig(({ mode }) => ({
  plugins: [svelte(), configSchema(), ...(mode === TAB ? [policy()] : [])],
  base: mode === TAB ? "./" : "/",
  worker: {
    format: "es",
    // The server knows the worker's script by this name: it alone may compile WebAssembly.
    rolldownOptions: { output: { entryFileNames: "assets/in-worker-[hash].js" } },
  },
  build: {
    target: "es2022",
    // The content security policy is `default-src 'self'`: nothing may become a data: URL.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    ...(mode === TAB
      ? { outDir: "dist-tab", emptyOutDir: true, rolldownOptions: { input: "tab.html" } }
      : {}),
  },
  server: {
    // The server takes changes from its own origin only, so the proxy speaks with that.
    proxy: {
      "/api": {
        target: server,
        changeOrigin: true,
        configure: (proxy) =>
          proxy.on("proxyReq", (request) => {
            if (request.getHeader("origin")) request.setHeader("origin", server);
          }),
      },
    },
  },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
}));
