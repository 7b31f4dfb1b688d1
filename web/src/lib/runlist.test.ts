import { describe, expect, it } from "vitest";

import type { RunSummary } from "../api/types";
import { select } from "./runlist";

const run = (id: string, more: Partial<RunSummary>): RunSummary => ({
  id,
  name: id,
  state: "done",
  created: 0,
  config_hash: "",
  arch: "mlp",
  dataset: "procedural",
  methods: ["win"],
  seeds: [0],
  done_steps: 0,
  total_steps: 1,
  progress: 0,
  attempts: 0,
  ...more,
});
const runs = [
  run("a", { created: 1, best_accuracy: 80, state: "running", adapter: "llvmpipe" }),
  run("b", { created: 3, methods: ["kd"], name: "Thin one" }),
  run("c", { created: 2, best_accuracy: 90, state: "failed" }),
];
const ids = (filter: Partial<Parameters<typeof select>[1]>) =>
  select(runs, { group: null, words: "", sort: "created", descending: true, ...filter }).map(({ id }) => id);

describe("the list of runs", () => {
  it("is sorted, with the unknown last in both directions", () => {
    expect(ids({})).toEqual(["b", "c", "a"]);
    expect(ids({ sort: "accuracy" })).toEqual(["c", "a", "b"]);
    expect(ids({ sort: "accuracy", descending: false })).toEqual(["a", "c", "b"]);
    expect(ids({ sort: "progress" })).toEqual(["b", "c", "a"]);
  });

  it("is filtered by group and by every word", () => {
    expect(ids({ group: "active" })).toEqual(["a"]);
    expect(ids({ group: "ended" })).toEqual(["c"]);
    expect(ids({ group: "unheard of" })).toHaveLength(3);
    expect(ids({ words: "THIN kd" })).toEqual(["b"]);
    expect(ids({ words: "thin win" })).toEqual([]);
    expect(ids({ words: "llvm" })).toEqual(["a"]);
  });
});
