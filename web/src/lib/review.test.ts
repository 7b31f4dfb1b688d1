import { expect, test } from "vitest";

import { cells, takenFor } from "./review";

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
