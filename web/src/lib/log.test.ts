import { describe, expect, it } from "vitest";

import { says, tail } from "./log";

describe("the end of a log", () => {
  it.each([0, 1, 99, 100, 101, 5000, 1_000_000])("is found in one of %s lines", async (lines) => {
    let asked = 0;
    const from = await tail((n) => {
      asked += 1;
      return Promise.resolve(n < lines - 1);
    }, 100);
    const left = lines - 1 - from;
    expect(left).toBeLessThanOrEqual(100);
    expect(left).toBeGreaterThanOrEqual(Math.min(lines, 50));
    expect(asked).toBeLessThan(35);
  });
});

describe("a line of the log", () => {
  it("is a sentence, also of an event that is not known yet", () => {
    const entry = { seq: 1, time: 0, member: "win-0", step: 7 };
    expect(
      says({ ...entry, type: "block_narrowed", block: 2, discrepancy: 0.0923394, accuracy: 45.35, dead: 0 })
        .text,
    ).toBe("win-0: block 2 imitates its teacher to 0.09234; 45.35 % in its place.");
    expect(
      says({ ...entry, type: "step", stage: "tune", stage_step: 7, loss: null, lr: 0, samples_per_s: 1 }),
    ).toMatchObject({ tone: "bad" });
    expect(says({ ...entry, type: "of_the_future" } as never).text).toBe("of_the_future");
  });
});
