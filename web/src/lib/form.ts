import type { Config, Json } from "../api/types";

/** The part of JSON schema that `/api/schema` uses. */
export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string | string[];
  const?: string;
  description?: string;
  default?: Json;
  properties?: Record<string, Schema>;
  items?: Schema;
  oneOf?: Schema[];
  anyOf?: Schema[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minItems?: number;
  maxItems?: number;
  "x-unit"?: string;
}

export type Kind = "integer" | "number" | "boolean" | "text" | "choice" | "choices" | "list";

export interface Option {
  value: string;
  description: string;
}

/** One input of the form. */
export interface Field {
  /** As in `--set`: `tune.lr`. */
  path: string;
  /** The last part of the path. */
  key: string;
  kind: Kind;
  description: string;
  unit?: string | undefined;
  /** Whether it may be absent. */
  optional: boolean;
  default?: Json | undefined;
  options: Option[];
  /** Of a number, or of each item of a list. */
  integer: boolean;
  min?: number | undefined;
  max?: number | undefined;
  above?: number | undefined;
  below?: number | undefined;
  minItems?: number | undefined;
  maxItems?: number | undefined;
}

/** The keys of one table of the configuration. */
export interface Section {
  path: string;
  description: string;
  fields: Field[];
}

const oneLine = (text: string | undefined) => (text ?? "").replaceAll("\n", " ");

/** The choices of a node but null. */
function choicesOf(node: Schema): Schema[] {
  return node.anyOf?.filter(({ type }) => type !== "null") ?? [];
}

/** The node with what its `$ref` stands for; its own description and default win. A choice with null is what is chosen, or absent. */
function resolve(node: Schema, defs: Record<string, Schema>): Schema {
  const [some, ...others] = choicesOf(node);
  if (some !== undefined && others.length === 0) {
    const { anyOf: _, ...own } = node;
    const chosen = resolve(some, defs);
    return { ...chosen, ...own, type: [...typesOf(chosen), "null"] };
  }
  const name = node.$ref?.replace("#/$defs/", "");
  if (name === undefined) return node;
  const { $ref: _, ...own } = node;
  return { ...resolve(defs[name] ?? {}, defs), ...own };
}

function typesOf(node: Schema): string[] {
  return typeof node.type === "string" ? [node.type] : (node.type ?? []);
}

/** Values of an enumeration; empty for anything else. */
function optionsOf(node: Schema): Option[] {
  const values = node.oneOf ?? [];
  return values.flatMap(({ const: value, description }) =>
    value === undefined ? [] : { value, description: oneLine(description) },
  );
}

function field(path: string, node: Schema, defs: Record<string, Schema>): Field {
  const types = typesOf(node);
  const item = node.items && resolve(node.items, defs);
  const number = item ?? node;
  const [own, ofItem] = [optionsOf(node), item ? optionsOf(item) : []];
  const kind: Kind =
    own.length > 0
      ? "choice"
      : types.includes("array")
        ? ofItem.length > 0
          ? "choices"
          : "list"
        : types.includes("boolean")
          ? "boolean"
          : types.includes("integer")
            ? "integer"
            : types.includes("number")
              ? "number"
              : "text";
  return {
    path,
    key: path.slice(path.lastIndexOf(".") + 1),
    kind,
    description: oneLine(node.description),
    unit: node["x-unit"],
    optional: types.includes("null"),
    default: node.default,
    options: own.length > 0 ? own : ofItem,
    integer: typesOf(number).includes("integer"),
    min: number.minimum,
    max: number.maximum,
    above: number.exclusiveMinimum,
    below: number.exclusiveMaximum,
    minItems: node.minItems,
    maxItems: node.maxItems,
  };
}

/** The key that tells sections of several kinds apart, as `data.kind` does. */
const KIND = "kind";

/**
 * The section of several that a table is by its kind, with the kinds of all of them to choose from; the first, if it says none. Null for
 * anything else.
 */
function ofKind(node: Schema, table: Config, defs: Record<string, Schema>): Schema | null {
  const branches = choicesOf(node).map((choice) => resolve(choice, defs));
  if (branches.length < 2) return null;
  const kindOf = (branch: Schema) => resolve(branch.properties?.[KIND] ?? {}, defs);
  const has = (branch: Schema) => optionsOf(kindOf(branch)).some(({ value }) => value === table[KIND]);
  const [first] = branches;
  const chosen = branches.find(has) ?? first;
  const oneOf = branches.flatMap((branch) => kindOf(branch).oneOf ?? []);
  const properties = { ...chosen?.properties, [KIND]: { ...(chosen && kindOf(chosen)), oneOf } };
  return { ...chosen, description: node.description ?? chosen?.description ?? "", properties };
}

/** The variants of a union of tables that a constant tells apart, as `model.arch` does; null for anything else. */
function variants(node: Schema): { tag: string; of: Map<string, Schema> } | null {
  const of = new Map<string, Schema>();
  let tag: string | undefined;
  for (const variant of node.oneOf ?? []) {
    const found = Object.entries(variant.properties ?? {}).find(
      ([, property]) => property.const !== undefined,
    );
    if (!found) return null;
    tag = found[0];
    of.set(found[1].const as string, variant);
  }
  return tag === undefined ? null : { tag, of };
}

/**
 * The form of a configuration: a section a table, in the schema's order, the top level's own keys first.
 *
 * Where a table is one of several, as `[model]`, `config` says which.
 */
export function sections(schema: Schema, config: Config): Section[] {
  const defs = schema.$defs ?? {};
  const found: Section[] = [];
  const walk = (path: string, node: Schema, value: Json | undefined, description: string) => {
    const section: Section = { path, description, fields: [] };
    found.push(section);
    const union = variants(node);
    const table = value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
    let properties = node.properties ?? {};
    if (union) {
      const chosen = table[union.tag];
      const variant = union.of.get(String(chosen)) ?? [...union.of.values()][0];
      properties = variant?.properties ?? {};
      const options = [...union.of].map(([value, { description }]) => ({
        value,
        description: oneLine(description),
      }));
      section.fields.push({
        path: `${path}.${union.tag}`,
        key: union.tag,
        kind: "choice",
        description: oneLine(variant?.description),
        optional: false,
        options,
        integer: false,
      });
    }
    for (const [key, raw] of Object.entries(properties)) {
      if (union && key === union.tag) continue;
      const at = path ? `${path}.${key}` : key;
      const inner = table[key];
      const given = inner !== null && typeof inner === "object" && !Array.isArray(inner) ? inner : null;
      const property = ofKind(resolve(raw, defs), given ?? {}, defs) ?? resolve(raw, defs);
      // A section that may be absent is shown where it is there.
      if (property.properties && typesOf(property).includes("null") && given === null) continue;
      if (property.properties || variants(property)) walk(at, property, inner, oneLine(property.description));
      else section.fields.push(field(at, property, defs));
    }
  };
  walk("", schema, config, oneLine(schema.description));
  return found.filter((section) => section.fields.length > 0);
}

/** Whether a field is meant by what somebody looks for: each word is in its key or its description. */
export function found(field: Field, wanted: string): boolean {
  const text = `${field.path} ${field.description}`.toLowerCase().replaceAll("_", " ");
  return wanted
    .toLowerCase()
    .replaceAll("_", " ")
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** The bounds of a field in symbols, as `0 < x ≤ 1`; empty where there are none. */
export function bounds(field: Field): string {
  const low =
    field.above !== undefined ? `${field.above} <` : field.min !== undefined ? `${field.min} ≤` : "";
  const high =
    field.below !== undefined ? `< ${field.below}` : field.max !== undefined ? `≤ ${field.max}` : "";
  if (!low && !high) return "";
  return [low, field.kind === "list" ? "each" : "x", high].filter(Boolean).join(" ");
}

function numberProblem(field: Field, value: number): string | null {
  if (Number.isNaN(value)) return "a number is expected";
  if (!Number.isFinite(value)) return "it must be finite";
  if (field.integer && !Number.isInteger(value)) return "a whole number is expected";
  if (field.min !== undefined && value < field.min) return `at least ${field.min}`;
  if (field.max !== undefined && value > field.max) return `at most ${field.max}`;
  if (field.above !== undefined && value <= field.above) return `more than ${field.above}`;
  if (field.below !== undefined && value >= field.below) return `less than ${field.below}`;
  return null;
}

/** What was typed, as a value, or why it is none. Nothing typed is `null`: absent. */
export function parse(field: Field, text: string): { value: Json } | { problem: string } {
  const typed = text.trim();
  if (typed === "" && field.kind !== "list") {
    return field.optional ? { value: null } : { problem: "a value is needed" };
  }
  if (field.kind === "integer" || field.kind === "number") {
    const value = Number(typed);
    const problem = numberProblem(field, value);
    return problem ? { problem } : { value };
  }
  if (field.kind === "list") {
    const inner = typed.replace(/^\[/, "").replace(/\]$/, "");
    const items = inner
      .split(/[\s,;]+/)
      .filter(Boolean)
      .flatMap(repeated);
    if (items.length === 0 && field.optional) return { value: null };
    if (field.minItems !== undefined && items.length < field.minItems) {
      return { problem: field.minItems === 1 ? "at least one" : `at least ${field.minItems} values` };
    }
    if (field.maxItems !== undefined && items.length > field.maxItems)
      return { problem: `at most ${field.maxItems} values` };
    const numbers = items.map(Number);
    for (const [i, value] of numbers.entries()) {
      const problem = numberProblem(field, value);
      if (problem) return { problem: `${items[i]}: ${problem}` };
    }
    return { value: numbers };
  }
  return { value: typed };
}

/** `10x12` is twelve tens: long lists of equal widths are usual. */
function repeated(item: string): string[] {
  const [, value, times] = /^([^x×]+)[x×](\d{1,3})$/.exec(item) ?? [];
  return value !== undefined && times !== undefined ? new Array<string>(Number(times)).fill(value) : [item];
}

/** A value as it stands in the input; runs of equal items are written short. */
export function shown(field: Field, value: Json | undefined): string {
  if (value === null || value === undefined) return "";
  if (!Array.isArray(value)) return String(value);
  if (field.kind !== "list") return value.join(", ");
  const runs: { item: string; times: number }[] = [];
  for (const item of value.map(String)) {
    const last = runs.at(-1);
    if (last?.item === item) last.times += 1;
    else runs.push({ item, times: 1 });
  }
  return runs
    .flatMap(({ item, times }) => (times > 3 ? `${item}×${times}` : new Array<string>(times).fill(item)))
    .join(", ");
}

/** Every leaf as `section.key` → value; lists are leaves. */
export function flat(config: Config): Record<string, Json> {
  const leaves: Record<string, Json> = {};
  const walk = (table: Config, path: string) => {
    for (const [key, value] of Object.entries(table)) {
      const at = path ? `${path}.${key}` : key;
      if (value !== null && typeof value === "object" && !Array.isArray(value)) walk(value, at);
      else leaves[at] = value;
    }
  };
  walk(config, "");
  return leaves;
}

export function equal(a: Json | undefined, b: Json | undefined): boolean {
  return JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
}

/** Keys that never reach into a prototype. */
const FORBIDDEN = new Set(["__proto__", "constructor", "prototype"]);

/** Keys of which one says how long a stage is. */
const LENGTHS = ["epochs", "steps", "unit"];

/** Kinds of data that are text, whose other keys are not those of pictures. */
export const TEXTS: (Json | undefined)[] = ["text", "procedural_text", "squad", "procedural_questions"];

/**
 * `base` with `set` applied as `taper run --set` does: `epochs` and `steps` replace one another, another `model.arch` clears its table, and so
 * does text in the place of pictures.
 */
export function applied(base: Config, set: Record<string, Json>): Config {
  const config = structuredClone(base);
  // What clears a table comes first, so that new keys are not cleared with the old ones.
  const clears = (path: string) => Number(path === "model.arch" || path === "data.kind");
  const order = Object.entries(set).sort(([a], [b]) => clears(b) - clears(a));
  for (const [path, value] of order) {
    const keys = path.split(".");
    if (keys.some((key) => FORBIDDEN.has(key))) continue;
    const last = keys.pop() as string;
    let table = config;
    for (const key of keys) {
      const inner = table[key];
      table = (table[key] =
        inner !== null && typeof inner === "object" && !Array.isArray(inner) ? inner : {}) as Config;
    }
    const other =
      (path === "model.arch" && table["arch"] !== value) ||
      (path === "data.kind" && TEXTS.includes(table["kind"]) !== TEXTS.includes(value));
    if (other) for (const key of Object.keys(table)) delete table[key];
    if (value === null) delete table[last];
    else {
      if (LENGTHS.includes(last)) for (const key of LENGTHS) delete table[key];
      table[last] = value;
    }
  }
  return config;
}

/** What has to be set on `base` to get `config`; null takes a key away. */
export function changes(base: Config, config: Config): Record<string, Json> {
  const [from, to] = [flat(base), flat(config)];
  const set: Record<string, Json> = {};
  const other = from["model.arch"] !== undefined && from["model.arch"] !== to["model.arch"];
  for (const [path, value] of Object.entries(to)) {
    if (!equal(from[path], value) || (other && path.startsWith("model."))) set[path] = value;
  }
  for (const path of Object.keys(from)) {
    if (path in to || (other && path.startsWith("model."))) continue;
    const twin = path.endsWith(".epochs")
      ? path.replace(/epochs$/, "steps")
      : path.replace(/steps$/, "epochs");
    if (twin !== path && twin in to) continue;
    set[path] = null;
  }
  return set;
}

/** The configuration of a schema's defaults. */
export function defaults(schema: Schema): Config {
  const config: Config = {};
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    if (property.default !== undefined) config[key] = structuredClone(property.default);
  }
  return config;
}
