import { readdirSync, readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { flat, sections } from "../lib/form";
import { configOf, presetOf, readable, SCHEMA, tomlOf } from "./config";

const PRESETS = new URL("../../../engine/core/presets/", import.meta.url);
const presets = readdirSync(PRESETS)
  .filter((name) => name.endsWith(".toml"))
  .map((name) => ({ name, toml: readFileSync(new URL(name, PRESETS), "utf8") }));

test("every preset comes through the form's tables and back as it was", () => {
  expect(presets.length).toBeGreaterThan(3);
  for (const { name, toml } of presets) {
    const config = configOf(toml);
    expect(configOf(tomlOf(config)), name).toEqual(config);
  }
});

test("the schema that the page is built with knows every key of every preset", () => {
  for (const preset of presets) {
    const { config, description } = presetOf(preset);
    expect(description, preset.name).not.toBe("");
    const known = new Set(sections(SCHEMA, config).flatMap(({ fields }) => fields.map(({ path }) => path)));
    for (const path of Object.keys(flat(config))) expect(known, `${preset.name}: ${path}`).toContain(path);
  }
});

test("presets on files of text are not for a tab", () => {
  const offered = presets.map(presetOf).filter(readable);
  expect(offered.map(({ name }) => name)).toContain("bert-demo.toml");
  expect(offered.map(({ name }) => name)).not.toContain("bert-tiny.toml");
});
