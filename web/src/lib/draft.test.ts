import { execFileSync } from "node:child_process";

import { describe, expect, it } from "vitest";

import { citation } from "./citations";
import { cli, curl, newRun, quoted, readSet, writeSet, type Draft } from "./draft";

const draft = (more: Partial<Draft>): Draft => ({
  preset: "demo",
  base: { seeds: [0], tune: { epochs: 12, clip_norm: 1 } },
  set: {},
  name: "",
  ...more,
});

describe("a draft", () => {
  it("goes through the address", () => {
    const set = { "tune.lr": 0.01, seeds: [0, 1], "win.start": "random", "tune.clip_norm": null };
    expect(readSet(writeSet(set))).toEqual(set);
    expect(readSet(["tune.lr=0.01", "tune.lr", "x=nope", "A.b=1", "=1", "a..b=1"])).toEqual({
      "tune.lr": 0.01,
    });
  });

  it("is sent as short as it can be said", () => {
    expect(newRun(draft({ set: { seeds: [1] }, name: " thin " }))).toEqual({
      preset: "demo",
      set: { seeds: [1] },
      name: "thin",
    });
    expect(newRun(draft({ set: { "tune.clip_norm": null } }))).toEqual({
      config: { seeds: [0], tune: { epochs: 12 } },
    });
    expect(newRun(draft({ preset: null }))).toHaveProperty("config.seeds", [0]);
  });

  it("is a command that a shell reads back", () => {
    const text = cli(
      draft({ set: { seeds: [0, 1], "win.start": "random", "data.path": "it's here" }, name: "My run!" }),
    );
    expect(text).toMatch(/--out runs\/my-run$/);
    const words = (command: string) =>
      execFileSync("sh", ["-c", `printf '%s\\n' ${command}`], { encoding: "utf8" })
        .trimEnd()
        .split("\n");
    expect(words(text)).toEqual([
      ..."taper run demo --set".split(" "),
      "seeds=[0, 1]",
      "--set",
      'win.start="random"',
      "--set",
      `data.path="it's here"`,
      "--out",
      "runs/my-run",
    ]);
    expect(words(curl(draft({ name: "it's" }), "http://127.0.0.1:7878")).at(-1)).toBe(
      '{"preset":"demo","set":{},"name":"it\'s"}',
    );
    expect(words(quoted("$(id) `id` \"x\" 'y' \\"))).toEqual(["$(id) `id` \"x\" 'y' \\"]);
    expect(cli(draft({ preset: null }))).toBe("taper run taper.toml --out runs/mine");
  });
});

describe("the paper's settings", () => {
  it("stand beside what the paper speaks of, and nowhere else", () => {
    expect(citation("narrow.lr")?.says).toMatch(/0\.1/);
    expect(citation("wide.epochs")?.says).toBe("90");
    expect(citation("tune.momentum")?.says).toBe("0.9");
    for (const path of ["kd.lr", "fitnets.epochs", "start_only.lr", "data.epochs", "seeds"])
      expect(citation(path)).toBeUndefined();
  });
});
