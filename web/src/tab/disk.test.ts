import { expect, test } from "vitest";

import { ended, entries, free, NAME, plain, runOf } from "./disk";

const named = (name: string) => ({ name, file: new Blob(["x"]) });

test("a run is found in an archive, in a folder or not", () => {
  expect(runOf([named("config.toml"), named("events.jsonl")])).toMatchObject({
    name: null,
    files: [{ name: "config.toml" }, { name: "events.jsonl" }],
  });
  expect(
    runOf([named("runs/mine/teachers/0/config.toml"), named("runs/mine/config.toml"), named("else")]),
  ).toMatchObject({
    name: "mine",
    files: [{ name: "teachers/0/config.toml" }, { name: "config.toml" }],
  });
});

test("an archive without a run, or that leads out of its folder, is refused", () => {
  expect(() => runOf([named("model.safetensors")])).toThrow("no config.toml");
  for (const name of ["../x", "a/../../x", "/x", "a//b", "a\\b", "./x"])
    expect(() => runOf([named("config.toml"), named(name)]), name).toThrow("no run directory");
});

test("names are those of folders everywhere", () => {
  expect(plain("My pets (2)")).toBe("My-pets-2");
  expect(plain("../../x")).toBe("x");
  expect(plain("日本")).toBe("mine");
  for (const text of ["My pets", "..", "日本", "x".repeat(200), "-a-"]) expect(plain(text)).toMatch(NAME);
  expect(free("demo", ["demo", "demo-2"])).toBe("demo-3");
  expect(free("demo", [])).toBe("demo");
});

test("lines of a log that are no entries are passed over", () => {
  const line = '{"seq":0,"time":1,"type":"log","message":"a"}\n';
  expect(entries(line + line)).toHaveLength(2);
  expect(entries(`${line}{"seq":1,"ti`)).toHaveLength(1);
  expect(entries(`${line}{"se\n${line}`)).toHaveLength(2);
});

test("a run whose process said nothing at its end can go on", () => {
  expect(ended([])).toBe("stopped");
  expect(ended(entries('{"seq":0,"time":1,"type":"run_finished","status":"done","seconds":1}\n'))).toBe(
    "done",
  );
});
