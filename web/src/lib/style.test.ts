import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { methodOf, styleOf } from "./style";

const METHODS = ["win", "start_only", "embeddings_only", "kd", "fitnets", "vanilla", "teacher"];

test("each method has a colour and a dash of its own", () => {
  const css = readFileSync(new URL("../styles/app.css", import.meta.url), "utf8");
  const dashes = METHODS.map((method) => styleOf(method).dash.join(" "));
  expect(new Set(dashes).size).toBe(METHODS.length);
  for (const method of METHODS) expect(css).toContain(`${styleOf(method).colour}:`);
  expect(css).toContain(`${styleOf("new_one").colour}:`);
});

test("a member's name says its method", () => {
  expect(methodOf("embeddings_only-12")).toBe("embeddings_only");
  expect(methodOf("teacher-0")).toBe("teacher");
  expect(methodOf("other")).toBe("other");
});
