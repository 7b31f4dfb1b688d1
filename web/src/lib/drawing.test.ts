import { expect, test } from "vitest";

import { csv, fileName } from "./drawing";

test("a cell with commas, quotes or ends of lines stays one, and none is a formula", () => {
  const rows = [
    ["a", 'b "c", d', null],
    [1.5, "=SUM(A1)", "two\nlines"],
    [-2, undefined, "ü"],
  ];
  expect(csv(rows)).toBe('a,"b ""c"", d",\r\n1.5,\'=SUM(A1),"two\nlines"\r\n-2,,ü\r\n');
});

test("names of files have nothing that a system refuses", () => {
  expect(fileName("my run / 1", "win-0", "confusion")).toBe("my-run-1-win-0-confusion");
  expect(fileName("..", "/")).toBe("taper");
  expect(fileName("Blüten: groß")).toBe("Blüten-groß");
});
