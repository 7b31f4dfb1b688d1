import { describe, expect, it } from "vitest";

import { bytes, count, duration, measure, milliseconds, percent, spread, tomlValue } from "./format";

describe("numbers for people", () => {
  it.each([
    [0.04, "0.0 s"],
    [9.96, "10 s"],
    [59.6, "1 min 00 s"],
    [245, "4 min 05 s"],
    [7800, "2 h 10 min"],
    [273_600, "3 d 4 h"],
    [-1, "–"],
    [null, "–"],
    [NaN, "–"],
  ])("lasts %s", (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });

  it("has milliseconds without exponents", () => {
    expect([0.4123, 9.96, 183.4, 999.7, 1834].map(milliseconds)).toEqual([
      "0.412 ms",
      "9.96 ms",
      "183 ms",
      "1 s",
      "1.83 s",
    ]);
    expect(milliseconds(NaN)).toBe("–");
  });

  it("counts and weighs", () => {
    expect([3890, 28_730, 6_920_000, 4.1e9, 0.1234567].map(count)).toEqual([
      "3,890",
      "28.7 k",
      "6.92 M",
      "4.1 G",
      "0.1235",
    ]);
    expect([0, 812, 999.6, 1234, 134_217_728].map(bytes)).toEqual([
      "0 B",
      "812 B",
      "1 kB",
      "1.23 kB",
      "134 MB",
    ]);
  });

  it("measures", () => {
    expect([0, 5.214e-7, 0.0923394, 12345.6, 1e9].map(measure)).toEqual([
      "0",
      "5.21e-7",
      "0.09234",
      "12350",
      "1.00e9",
    ]);
    expect(measure(null)).toBe("–");
    expect([percent(83.004), percent(null), spread(83, 0.953), spread(83, null)]).toEqual([
      "83.00 %",
      "–",
      "83.00 ± 0.95",
      "83.00",
    ]);
  });

  it("writes TOML", () => {
    expect(tomlValue([1, 'a"b', true])).toBe('[1, "a\\"b", true]');
    expect(tomlValue(null)).toBe("absent");
  });
});
