import { expect, test } from "vitest";

import { cells, evenly, kept, ofSeed, takenFor } from "./review";

const named = (name: string, count: number) => ({ name, count, said: 0, right: 0, accuracy: null });
const review = {
  classes: [named("cat", 4), named("dog", 3), named("none", 0)],
  confusion: [
    [0, 0, 1],
    [0, 1, 1],
    [0, 2, 2],
    [1, 1, 3],
  ],
};

test("a cell says how many of a class's pictures it has", () => {
  expect(cells(review).map(({ share }) => share)).toEqual([0.25, 0.25, 0.5, 1]);
  expect(cells(review)[2]?.words).toBe("cat said to be none: 2 of 4");
});

test("a class is taken most often for another one, or for none", () => {
  expect(takenFor(review).map((cell) => cell && [cell.said, cell.pictures])).toEqual([[2, 2], null, null]);
});

test("places are different, inside, and others on each turn", () => {
  expect(evenly(100, 4, 0)).toEqual([0, 26, 52, 78]);
  expect(evenly(100, 4, 30)).toEqual([30, 56, 82, 8]);
  expect(evenly(3, 8, 1)).toEqual([1, 2, 0]);
  expect(evenly(0, 8, 1)).toEqual([]);
});

test("a student's teacher is that of its seed, else the only one", () => {
  const members = [
    { member: "teacher-0", seed: 0 },
    { member: "teacher-1", seed: 1, method: null },
    { member: "kd-1", seed: 1, method: "kd" },
  ];
  expect(ofSeed(members, 1)?.member).toBe("teacher-1");
  expect(ofSeed(members, 7)?.member).toBe("teacher-0");
  expect(ofSeed(members.slice(2), 1)).toBeUndefined();
});

test("a run keeps the WIN student with the least training error, the first of equal ones", () => {
  const of = (member: string, method: string, train_error: number, finished = true) => ({
    member,
    method,
    train_error,
    finished,
  });
  const members = [
    of("kd-0", "kd", 0),
    of("win-0", "win", 3),
    of("win-1", "win", 2),
    of("win-2", "win", 2),
    of("win-3", "win", 1, false),
  ];
  expect(kept(["kd", "win"], members)?.member).toBe("win-1");
  expect(kept(["kd"], members)?.member).toBe("kd-0");
  expect(kept(["vanilla"], members)).toBeUndefined();
});
