import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

/** Where `npm run dev` finds the server; the built page is served by it and needs no such thing. */
const server = process.env["TAPER_SERVER"] ?? "http://127.0.0.1:7878";

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: "es2022",
    // The content security policy is `default-src 'self'`: nothing may become a data: URL.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
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
});
