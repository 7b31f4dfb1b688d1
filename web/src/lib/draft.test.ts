import { execFileSync } from "node:child_process";

import { describe, expect, it } from "vitest";

import { citation } from "./citations";
import type { Dataset } from "../api/types";
import { carried, cli, curl, newRun, quoted, readSet, writeSet, type Draft } from "./draft";

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

describe("another preset", () => {
  const flowers = {
    name: "flowers",
    train_count: 120,
    test_count: 0,
    account: { used: { train: [48, 48], test: [12, 12] } },
  } as unknown as Dataset;
  const now = {
    data: { kind: "folder", path: "dataset:flowers", size: 64, augment: { flip: true } },
    model: { arch: "resnet" },
  };
  const cifar = {
    data: { kind: "cifar10", train_count: 10000, test_count: 2000, size: 16 },
    model: { arch: "resnet" },
    wide: { batch: 128 },
    tune: { batch: 64 },
  };

  it("keeps the data, and asks for no more of them than there are", () => {
    const { set, lines } = carried(now, cifar, "cifar10-resnet-thin", flowers);
    expect(set).toEqual({
      "data.kind": "folder",
      "data.path": "dataset:flowers",
      "data.train_count": null,
      "data.test_count": null,
      "wide.batch": 64,
    });
    expect(lines).toHaveLength(3);
    expect(lines[0]).toContain("10,000 training images, and flowers has 120");
    expect(lines[2]).toContain("96 training images: wide have 64");
  });

  it("leaves the size of the input where the preset says none", () => {
    const mlp = { data: { kind: "procedural" }, model: { arch: "mlp" } };
    expect(carried(now, mlp, "demo", flowers)).toEqual({
      set: { "data.kind": "folder", "data.path": "dataset:flowers", "data.size": 64 },
      lines: [],
    });
    const pictures = { data: { kind: "folder" }, model: { arch: "resnet" } };
    expect(carried(now, pictures, "pictures", flowers).set).not.toHaveProperty("data.size");
  });

  it("drops data that it cannot read, and says so", () => {
    const bert = { data: { kind: "text" }, model: { arch: "bert" } };
    const { set, lines } = carried(now, bert, "bert-tiny", flowers);
    expect([set, lines]).toEqual([{}, ["bert-tiny reads text, so flowers is not its data any more."]]);
    expect(carried({ data: { kind: "procedural" } }, cifar, "x", undefined)).toEqual({ set: {}, lines: [] });
  });

  it("is sent whole where what was chosen by the pictures is changed", () => {
    const of = (set: Draft["set"]) => draft({ preset: "pictures", set });
    expect(newRun(of({ "data.path": "dataset:flowers" }))).toHaveProperty("preset", "pictures");
    expect(newRun(of({ "data.path": "dataset:flowers", "tune.epochs": 3 }))).toHaveProperty("config.tune");
  });
});
