import { describe, expect, it } from "vitest";

import type { CompareRow, RunDetail } from "../api/types";
import { byLabel, curvesOf, equalEpochs } from "./compare";

const row = (method: string, epochs: number, label: string | null = null): CompareRow => ({
  method,
  label,
  accuracy_mean: 80,
  accuracy_std: 1,
  seeds: 2,
  params: 1,
  macs: 1,
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
