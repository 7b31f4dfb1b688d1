import { expect, test } from "vitest";

import type { MemberState } from "../api/types";
import { standings } from "./headline";

const member = (method: string | null, seed: number, accuracy: number | null, finished = true) =>
  ({ member: `${method ?? "teacher"}-${seed}`, method, seed, finished, accuracy }) as MemberState;

test("methods are ranked by their mean, and the teacher is no student", () => {
  const found = standings([
    member(null, 0, 90),
    member("kd", 0, 70),
    member("win", 0, 80),
    member("win", 1, 84),
    member("win", 2, null),
    member("vanilla", 0, 99, false),
  ]);
  expect(found.map(({ method, mean, seeds }) => [method, mean, seeds])).toEqual([
    ["win", 82, 2],
    ["kd", 70, 1],
    ["teacher", 90, 1],
  ]);
  expect(found[0]?.deviation).toBeCloseTo(Math.sqrt(8));
  expect(found[1]?.deviation).toBeNull();
  expect(standings([member("win", 0, Number.NaN)])).toEqual([]);
});
