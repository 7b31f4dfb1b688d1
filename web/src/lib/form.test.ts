import { describe, expect, it } from "vitest";

import type { Config } from "../api/types";
import { applied, bounds, changes, flat, parse, sections, shown, type Field, type Schema } from "./form";

/** A cut of the real schema, with each form of node that it uses. */
const schema: Schema = {
  type: "object",
  properties: {
    methods: {
      type: "array",
      items: { $ref: "#/$defs/Method" },
      minItems: 1,
      description: "Methods to train.",
      default: ["kd", "win"],
    },
    seeds: { type: "array", items: { type: "integer", minimum: 0 }, minItems: 1, default: [0, 1, 2] },
    data: { anyOf: [{ $ref: "#/$defs/Images" }, { $ref: "#/$defs/Text" }], description: "The samples." },
    text: { anyOf: [{ $ref: "#/$defs/Examples" }, { type: "null" }], description: "Of a text." },
    memory_budget: {
      type: ["integer", "null"],
      minimum: 1,
      "x-unit": "bytes",
      description: "Most memory;\nabsent: all.",
    },
    model: { $ref: "#/$defs/Model", description: "The student.", default: { arch: "mlp", hidden: [10, 10] } },
    tune: { $ref: "#/$defs/Tune", default: { epochs: 12, lr: 0.003, target: "teacher" } },
  },
  $defs: {
    Method: {
      oneOf: [
        { const: "kd", description: "Distillation." },
        { const: "win", description: "Wide, then narrow." },
      ],
    },
    Images: {
      type: "object",
      properties: {
        kind: { oneOf: [{ const: "idx" }, { const: "folder" }], default: "folder" },
        size: { type: ["integer", "null"] },
      },
    },
    Text: {
      type: "object",
      properties: {
        kind: { oneOf: [{ const: "text" }], default: "text" },
        path: { type: ["string", "null"] },
      },
    },
    Examples: { type: "object", properties: { length: { type: "integer", minimum: 8 } } },
    Target: { oneOf: [{ const: "labels" }, { const: "teacher" }], description: "Never shown." },
    Model: {
      oneOf: [
        {
          type: "object",
          properties: {
            arch: { const: "mlp" },
            hidden: { type: "array", items: { type: "integer", minimum: 1 }, minItems: 1, default: [10] },
          },
        },
        {
          type: "object",
          properties: {
            arch: { const: "resnet" },
            base: { type: "integer", minimum: 1, maximum: 65536, default: 64 },
          },
        },
      ],
    },
    Tune: {
      type: "object",
      properties: {
        epochs: { type: ["number", "null"], exclusiveMinimum: 0, "x-unit": "epochs" },
        steps: { type: ["integer", "null"], minimum: 1 },
        lr: { type: "number", minimum: 0, default: 0.003 },
        target: { $ref: "#/$defs/Target", description: "What fine-tuning follows.", default: "teacher" },
        augment: { $ref: "#/$defs/Augment", description: "Changes." },
        after: { anyOf: [{ $ref: "#/$defs/Target" }, { type: "null" }], description: "Or absent." },
      },
    },
    Augment: { type: "object", properties: { flip: { type: "boolean", default: false } } },
  },
};

const field = (path: string, config = {}): Field => {
  const found = sections(schema, config)
    .flatMap(({ fields }) => fields)
    .find((field) => field.path === path);
  if (!found) throw new Error(`no field ${path}`);
  return found;
};

describe("the form of a schema", () => {
  it("knows a choice that may be absent", () => {
    expect(field("tune.after")).toMatchObject({ kind: "choice", optional: true, description: "Or absent." });
    expect(field("tune.after").options.map(({ value }) => value)).toEqual(["labels", "teacher"]);
    expect(field("tune.target").optional).toBe(false);
  });

  it("has a section a table, the top level first", () => {
    const paths = ["", "data", "model", "tune", "tune.augment"];
    expect(sections(schema, {}).map(({ path }) => path)).toEqual(paths);
  });

  it("shows the keys of the kind that is chosen, and all kinds to choose from", () => {
    const of = (config: Config) => {
      const found = sections(schema, config).filter(({ path }) => path === "data" || path === "text");
      return found.flatMap(({ fields }) => fields.map(({ path }) => path));
    };
    expect(of({})).toEqual(["data.kind", "data.size"]);
    expect(of({ data: { kind: "text" }, text: { length: 16 } })).toEqual([
      "data.kind",
      "data.path",
      "text.length",
    ]);
    const kinds = field("data.kind").options.map(({ value }) => value);
    expect(kinds).toEqual(["idx", "folder", "text"]);
    expect(applied({ data: { kind: "idx", size: 4 } }, { "data.path": "a", "data.kind": "text" })).toEqual({
      data: { kind: "text", path: "a" },
    });
    expect(applied({ data: { kind: "idx", size: 4 } }, { "data.kind": "folder" })).toEqual({
      data: { kind: "folder", size: 4 },
    });
  });

  it("knows what each field takes", () => {
    expect(field("methods")).toMatchObject({
      kind: "choices",
      options: [{ value: "kd" }, { value: "win" }],
      minItems: 1,
    });
    expect(field("seeds")).toMatchObject({ kind: "list", integer: true, min: 0 });
    expect(field("memory_budget")).toMatchObject({
      kind: "integer",
      optional: true,
      unit: "bytes",
      description: "Most memory; absent: all.",
    });
    expect(field("tune.target")).toMatchObject({
      kind: "choice",
      description: "What fine-tuning follows.",
      default: "teacher",
    });
    expect(field("tune.augment.flip").kind).toBe("boolean");
    expect(bounds(field("tune.epochs"))).toBe("0 < x");
    expect(bounds(field("model.base", { model: { arch: "resnet" } }))).toBe("1 ≤ x ≤ 65536");
  });

  it("shows the keys of the architecture that is chosen, and no other", () => {
    const paths = (arch: string) =>
      sections(schema, { model: { arch } })
        .flatMap(({ fields }) => fields.map(({ path }) => path))
        .filter((path) => path.startsWith("model"));
    expect(paths("mlp")).toEqual(["model.arch", "model.hidden"]);
    expect(paths("resnet")).toEqual(["model.arch", "model.base"]);
    expect(paths("no such thing")).toEqual(["model.arch", "model.hidden"]);
  });
});

describe("what is typed", () => {
  it("is a value or a sentence", () => {
    expect(parse(field("tune.lr"), " 1e-3 ")).toEqual({ value: 0.001 });
    expect(parse(field("tune.lr"), "fast")).toEqual({ problem: "a number is expected" });
    expect(parse(field("tune.lr"), "-1")).toEqual({ problem: "at least 0" });
    expect(parse(field("tune.lr"), "")).toEqual({ problem: "a value is needed" });
    expect(parse(field("tune.lr"), "1e999")).toEqual({ problem: "it must be finite" });
    expect(parse(field("tune.epochs"), "0")).toEqual({ problem: "more than 0" });
    expect(parse(field("memory_budget"), "")).toEqual({ value: null });
    expect(parse(field("memory_budget"), "1.5")).toEqual({ problem: "a whole number is expected" });
    expect(parse(field("seeds"), "")).toEqual({ problem: "at least one" });
    expect(parse(field("seeds"), "[0, 1 2;3]")).toEqual({ value: [0, 1, 2, 3] });
    expect(parse(field("seeds"), "0, -1")).toEqual({ problem: "-1: at least 0" });
  });

  it("may repeat an item, and is shown as short", () => {
    const hidden = field("model.hidden");
    expect(parse(hidden, "10x4, 20")).toEqual({ value: [10, 10, 10, 10, 20] });
    expect(shown(hidden, [10, 10, 10, 10, 20])).toBe("10×4, 20");
    expect(parse(hidden, shown(hidden, [10, 10, 10, 10, 20]))).toEqual({ value: [10, 10, 10, 10, 20] });
  });
});

describe("changes of a configuration", () => {
  const base = {
    seeds: [0],
    model: { arch: "mlp", hidden: [10] },
    tune: { epochs: 12, lr: 0.1, clip_norm: 1 },
  };

  it("are applied as --set does", () => {
    expect(applied(base, { "tune.steps": 5 })).toEqual({
      ...base,
      tune: { steps: 5, lr: 0.1, clip_norm: 1 },
    });
    expect(applied(base, { "model.base": 8, "model.arch": "resnet" }).model).toEqual({
      arch: "resnet",
      base: 8,
    });
    expect(applied(base, { "tune.clip_norm": null }).tune).toEqual({ epochs: 12, lr: 0.1 });
    expect(base.tune.epochs).toBe(12);
  });

  it("cannot reach a prototype", () => {
    applied(base, { "__proto__.polluted": 1, "tune.constructor.prototype.polluted": 1 });
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  it("are what makes one configuration of another", () => {
    for (const target of [
      base,
      { seeds: [0, 1], model: { arch: "resnet", base: 8 }, tune: { steps: 3, lr: 0.1 } },
      { seeds: [0], model: { arch: "mlp", hidden: [20, 20] }, tune: { epochs: 1, lr: 0.2, clip_norm: 1 } },
    ]) {
      expect(applied(base, changes(base, target))).toEqual(target);
    }
    expect(changes(base, base)).toEqual({});
    expect(flat(base)["model.hidden"]).toEqual([10]);
  });
});
