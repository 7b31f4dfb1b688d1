import { describe, expect, it } from "vitest";

import type { CompareRow, RunDetail } from "../api/types";
import {
  banded,
  byLabel,
  curvesOf,
  epochsAt,
  equalEpochs,
  gridOf,
  ordered,
  over,
  secondsAt,
  shortLabels,
} from "./compare";

const row = (method: string, epochs: number, label: string | null = null): CompareRow => ({
  method,
  label,
  accuracy_mean: 80,
  accuracy_std: 1,
  seeds: 2,
  params: 1,
  macs: 1,
  latencies: [],
  epochs,
  seconds: 1,
  teacher_epochs: 0,
  teacher_seconds: 0,
});

describe("a comparison", () => {
  it("says whether the budget was equal", () => {
    expect(equalEpochs([row("win", 24), row("kd", 24.001)])).toMatchObject({ equal: true });
    expect(equalEpochs([row("win", 24), row("kd", 12)])).toEqual({ equal: false, least: 12, most: 24 });
  });

  it("groups by configuration in the answer's order", () => {
    const groups = byLabel([row("win", 1, "a=1"), row("win", 1, "a=2"), row("kd", 1, "a=1")]);
    expect(groups.map(({ label, rows }) => [label, rows.map(({ method }) => method)])).toEqual([
      ["a=1", ["win", "kd"]],
      ["a=2", ["win"]],
    ]);
  });

  it("finds the curves of a series", () => {
    const metrics = {
      members: [
        {
          member: "start_only-10",
          series: [
            { name: "loss", x: [1], y: [2] },
            { name: "lr", x: [], y: [] },
          ],
        },
      ],
    };
    const state = { member: "start_only-10", method: "start_only", seed: 10 };
    const details = new Map([["a", { members: [state] as RunDetail["members"] }]]);
    expect(curvesOf([{ run: "a", metrics }], details, "loss")).toEqual([
      { run: "a", member: "start_only-10", method: "start_only", line: { x: [1], y: [2] } },
    ]);
    expect(curvesOf([{ run: "a", metrics }], details, "lr")).toEqual([]);
    expect(curvesOf([{ run: "a", metrics }], new Map(), "loss")).toEqual([]);
  });
});

describe("what x counts", () => {
  it("counts epochs by the batch of each stage", () => {
    const stages = [
      { first_step: 0, steps: 10, done: 10, batch: 8 },
      { first_step: 10, steps: 0, done: 0, batch: 0 },
      { first_step: 10, steps: 5, done: 5, batch: 16 },
      { first_step: null, steps: 5, done: 0, batch: 16 },
    ];
    const at = epochsAt(stages, 80);
    expect([0, 5, 10, 15].map(at)).toEqual([0, 0.5, 1, 2]);
  });

  it("adds up the time of steps", () => {
    const at = secondsAt({ x: [10, 20, 40], y: [100, 200, null] });
    expect([0, 10, 15, 20, 40, 50].map((step) => Number(at(step).toFixed(6)))).toEqual([0, 1, 2, 3, 7, 9]);
    expect(over({ x: [10, 20], y: [1, 2] }, at)).toEqual({ x: [1, 3], y: [1, 2] });
  });
});

describe("several seeds", () => {
  it("are their mean and their sample deviation where all have a value", () => {
    const { line, band } = banded([
      { x: [1, 2, 3], y: [1, 3, 5] },
      { x: [1, 3], y: [3, 7] },
    ]);
    expect(line).toEqual({ x: [1, 2, 3], y: [2, 4, 6] });
    expect(band.low.y[0]).toBeCloseTo(2 - Math.SQRT2);
    expect(band.high.y[2]).toBeCloseTo(6 + Math.SQRT2);
    expect(banded([{ x: [1], y: [null] }]).line.x).toEqual([]);
  });
});

describe("labels", () => {
  it("have keys as short as they are clear", () => {
    const labels = ["teacher.factor=2 win.lr=0.1", "teacher.factor=4 tune.lr=0.2"];
    const short = shortLabels(labels);
    expect(labels.map(short)).toEqual(["factor=2 win.lr=0.1", "factor=4 tune.lr=0.2"]);
    expect(shortLabels(["data.path=my pictures"])("data.path=my pictures")).toBe("path=my pictures");
  });

  it("say what a grid varies", () => {
    const { keys, values } = gridOf(["teacher.factor=2 win.merge=maf", "teacher.factor=4 win.merge=map x"]);
    expect(keys).toEqual(["teacher.factor", "win.merge"]);
    expect(values.get("teacher.factor=4 win.merge=map x")?.get("win.merge")).toBe("map x");
    expect(ordered(["10", "9", "9", "1e1"])).toEqual(["9", "10", "1e1"]);
    expect(ordered(["b", "10", "a"])).toEqual(["10", "a", "b"]);
  });
});
