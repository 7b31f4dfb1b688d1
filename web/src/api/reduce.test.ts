import { describe, expect, it } from "vitest";

import { adopt, EMPTY, moveTarget, queued, reduce, type World } from "./reduce";
import type { RunSummary, State } from "./types";

const run = (id: string, state: State = "queued", position?: number): RunSummary => ({
  id,
  name: id,
  state,
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
  ...(position === undefined ? {} : { position }),
});

describe("the world of runs", () => {
  it("takes a run, a later state of it, and its end", () => {
    let world = reduce(EMPTY, { type: "run", run: run("a") });
    const before = world;
    world = reduce(world, { type: "run", run: run("a", "running") });
    expect(world.runs.get("a")?.state).toBe("running");
    expect(before.runs.get("a")?.state).toBe("queued");
    world = reduce(reduce(world, { type: "queue", queue: ["a"] }), { type: "removed", id: "a" });
    expect(world).toEqual({ runs: new Map(), queue: [] });
  });

  it("prefers what the stream said while the list was on its way", () => {
    const world = adopt({ runs: [run("a"), run("b")], queue: ["a", "b"] }, [
      { type: "run", run: run("a", "done") },
      { type: "removed", id: "b" },
    ]);
    expect([...world.runs.values()].map(({ id, state }) => [id, state])).toEqual([["a", "done"]]);
    expect(world.queue).toEqual(["a"]);
  });

  it("lists the queue in its order, and whom the order does not know yet behind", () => {
    const runs = new Map(
      ["a", "b", "c", "d"].map((id, i) => [id, run(id, id === "d" ? "done" : "queued", i)]),
    );
    const world: World = { runs, queue: ["b", "a", "gone"] };
    expect(queued(world).map(({ id }) => id)).toEqual(["b", "a", "c"]);
  });
});

describe("a move in the queue", () => {
  const queue = ["a", "b", "c"];
  it("names the run that it goes before", () => {
    expect(moveTarget(queue, "c", -1)).toBe("b");
    expect(moveTarget(queue, "c", -9)).toBe("a");
    expect(moveTarget(queue, "a", 1)).toBe("c");
    expect(moveTarget(queue, "a", 9)).toBeNull();
  });
  it("is none at the ends", () => {
    expect(moveTarget(queue, "a", -1)).toBeUndefined();
    expect(moveTarget(queue, "c", 1)).toBeUndefined();
    expect(moveTarget(queue, "x", 1)).toBeUndefined();
  });
});
