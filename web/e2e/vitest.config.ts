import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["e2e/**/*.e2e.ts"],
    root: new URL("..", import.meta.url).pathname,
    // One server and one browser; a training run is watched from its first step to its last.
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 60_000,
    bail: 1,
  },
});
