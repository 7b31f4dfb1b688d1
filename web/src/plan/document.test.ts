import { describe, expect, it } from "vitest";

import { checkField, firstWords, parsePlan } from "./document";

describe("a plan", () => {
  const plan = { version: 2, buffers: [], owners: { student: [] } };

  it("is read", () => {
    expect(parsePlan(plan)).toBe(plan);
  });

  it("of another version is refused in a sentence", () => {
    expect(() => parsePlan({ version: 1, plan: {} })).toThrow(
      "plan.json has version 1, this page runs version 2: export the model again",
    );
  });

  it("is refused where it is damaged, or compiled for a software adapter", () => {
    for (const bad of [null, 2, [], {}, { version: "2" }, { version: 2 }, { ...plan, owners: undefined }])
      expect(() => parsePlan(bad)).toThrow("plan.json is damaged or of another format");
    expect(() => parsePlan({ ...plan, buffers: [{ texture: true }] })).toThrow(/software adapter/);
  });
});

describe("the words that a buffer begins with", () => {
  const runs = [
    { word: 1, count: 2 },
    { word: 0, count: 1 },
    { word: 7, count: 1 },
  ];

  it("are its runs, and zeros behind them", () => {
    expect([...firstWords({ buffer: 0, runs }, 20)]).toEqual([1, 1, 0, 7, 0]);
    expect([...firstWords({ buffer: 0, runs: [] }, 8)]).toEqual([0, 0]);
  });

  it("are no more than it holds", () => {
    expect(() => firstWords({ buffer: 0, runs }, 12)).toThrow(/more than it holds/);
  });
});

it("a field that is not what an input takes is refused by name", () => {
  const input = { name: "labels", buffer: 0, shape: [3], kind: "u32" } as const;
  const as = (data: Float32Array | Uint32Array) => () => {
    checkField({ ...input, shape: [3] }, data);
  };
  expect(as(new Uint32Array(3))).not.toThrow();
  expect(as(new Uint32Array(2))).toThrow("input labels takes 3 numbers of u32, not 2 of u32");
  expect(as(new Float32Array(3))).toThrow("input labels takes 3 numbers of u32, not 3 of f32");
});
