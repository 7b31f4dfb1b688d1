import { describe, expect, it } from "vitest";

import { align, append, cut, MOST_POINTS, overlay, points, rows, thin, type Line } from "./series";
import { smooth } from "./smoothing";

const line = (n: number, y = (i: number): number | null => i): Line => ({
  x: Array.from({ length: n }, (_, i) => i + 1),
  y: Array.from({ length: n }, (_, i) => y(i)),
});

describe("a curve", () => {
  it("grows at its end, and a replayed point changes nothing", () => {
    const grown = append(line(2), 3, 9);
    expect(grown).toEqual({ x: [1, 2, 3], y: [0, 1, 9] });
    expect(append(grown, 3, 100)).toBe(grown);
    expect(append(grown, 1, 100)).toBe(grown);
  });

  it("is taken back by a resume", () => {
    expect(cut(line(5), 3)).toEqual(line(3));
    expect(cut(line(5), 9)).toEqual(line(5));
    expect(cut(line(5), 0)).toEqual({ x: [], y: [] });
  });

  it("takes a finer part in place of its own points there", () => {
    const coarse = { x: [0, 10, 20, 30], y: [0, 1, 2, 3] };
    expect(overlay(coarse, { x: [10, 12, 20], y: [5, 6, 7] })).toEqual({
      x: [0, 10, 12, 20, 30],
      y: [0, 5, 6, 7, 3],
    });
    expect(overlay(coarse, { x: [], y: [] })).toBe(coarse);
    expect(overlay(coarse, { x: [40], y: [4] })).toEqual({ x: [0, 10, 20, 30, 40], y: [0, 1, 2, 3, 4] });
  });

  it("is thinned without losing a spike or a NaN", () => {
    const long = line(100_000, (i) =>
      i === 31_415 ? 1e6 : i === 27_182 ? -1e6 : i === 77_777 ? null : Math.sin(i),
    );
    const thinned = thin(long, 1000);
    expect(thinned.x.length).toBeLessThanOrEqual(1000);
    expect(thinned.y).toContain(1e6);
    expect(thinned.y).toContain(-1e6);
    expect(thinned.y).toContain(null);
    expect(thinned.x).toEqual([...thinned.x].sort((a, b) => a - b));
    expect(new Set(thinned.x).size).toBe(thinned.x.length);
  });

  it("stays bounded however long it is watched", () => {
    let watched = line(0);
    for (let i = 1; i <= 3 * MOST_POINTS; i += 1) watched = append(watched, i, i);
    expect(watched.x.length).toBeLessThanOrEqual(MOST_POINTS);
    expect(watched.x.at(-1)).toBe(3 * MOST_POINTS);
    expect(watched.x[0]).toBe(1);
  });

  it("shares its x with others: no point is undefined, no number is null", () => {
    const { x, ys } = align([
      { x: [1, 3], y: [10, null] },
      { x: [2, 3], y: [20, 30] },
    ]);
    expect(x).toEqual([1, 2, 3]);
    expect(ys).toEqual([
      [10, undefined, null],
      [undefined, 20, 30],
    ]);
  });
});

describe("points of the log", () => {
  const at = { seq: 1, time: 0, member: "win-0", stage: "tune", step: 7 };

  it("are those of the series that the server derives", () => {
    const step = points(
      { ...at, type: "step", stage_step: 7, loss: null, lr: 0.1, samples_per_s: 640 },
      () => 64,
    );
    expect(step).toEqual({
      member: "win-0",
      x: 7,
      values: { loss: null, lr: 0.1, samples_per_s: 640, step_ms: 100 },
    });
    const epoch = points({ ...at, type: "epoch", epoch: 1, loss: 0.5, accuracy: 80 }, () => 64);
    expect(epoch?.values).toEqual({ test_loss: 0.5, accuracy: 80 });
    expect(points({ seq: 1, time: 0, type: "log", message: "" }, () => 64)).toBeNull();
  });
});

describe("smoothing", () => {
  it("keeps a constant, from its first point on", () => {
    for (const value of smooth([3, 3, 3, 3], 0.9)) expect(value).toBeCloseTo(3, 12);
  });

  it("follows the formula and passes over what is no number", () => {
    const [first, none, second, missing] = smooth([1, null, 3, undefined], 0.5);
    expect(first).toBeCloseTo(1, 12);
    expect(none).toBeNull();
    expect(second).toBeCloseTo((0.5 * 0.5 * 1 + 0.5 * 3) / (1 - 0.25), 12);
    expect(missing).toBeUndefined();
  });

  it("is off at 0 and bounded at 0.999", () => {
    expect(smooth([1, 5], 0)).toEqual([1, 5]);
    expect(smooth([1, 5], 7)).toEqual(smooth([1, 5], 0.999));
  });
});

describe("a table of curves", () => {
  it("has the first and the last step, and what was known by then", () => {
    const few = rows(align([line(3), { x: [2], y: [7] }]));
    expect(few).toEqual([
      { x: 1, ys: [0, undefined] },
      { x: 2, ys: [1, 7] },
      { x: 3, ys: [2, 7] },
    ]);
    const many = rows(align([line(1000)]));
    expect(many.length).toBe(40);
    expect([many[0]?.x, many.at(-1)?.x]).toEqual([1, 1000]);
    expect(rows(align([]))).toEqual([]);
  });
});
