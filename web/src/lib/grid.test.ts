import { expect, test } from "vitest";

import { flat } from "./form";
import { combinations, nameOf, parsed } from "./grid";

const KNOWN = new Set(["teacher.factor", "win.merge", "seeds"]);

test("values are JSON where they can be, else strings", () => {
  expect(parsed('2, 4.5, true, maf, "a, b", [0, 1]')).toEqual([2, 4.5, true, "maf", "a, b", [0, 1]]);
  expect(parsed(" , ")).toEqual([]);
});

test("a grid is every combination, and what is wrong with it is said", () => {
  const axes = [
    { key: "teacher.factor", values: "2, 4" },
    { key: "win.merge", values: "maf, map" },
    { key: "", values: "" },
  ];
  const made = combinations(axes, KNOWN);
  expect("sets" in made && made.sets.map(nameOf)).toEqual([
    "factor=2 merge=maf",
    "factor=2 merge=map",
    "factor=4 merge=maf",
    "factor=4 merge=map",
  ]);
  const wrong = (key: string, values: string) => {
    const answer = combinations([{ key, values }], KNOWN);
    return "wrong" in answer ? answer.wrong : "";
  };
  expect(wrong("", "")).toContain("Name a key");
  expect(wrong("tune.lr", "1")).toContain("no key “tune.lr”");
  expect(wrong("win.merge", " ")).toContain("no values");
  expect(wrong("win.merge", "maf, maf")).toContain("twice");
  const many = Array.from({ length: 65 }, (_, k) => k).join();
  expect(wrong("teacher.factor", many)).toContain("65 runs");
});

test("keys are named in dots, and lists are values", () => {
  expect([...Object.entries(flat({ seeds: [0, 1], win: { merge: "maf", deep: { er: null } } }))]).toEqual([
    ["seeds", [0, 1]],
    ["win.merge", "maf"],
    ["win.deep.er", null],
  ]);
});
