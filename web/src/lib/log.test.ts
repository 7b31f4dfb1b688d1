import { describe, expect, it } from "vitest";

import { says } from "./log";

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
