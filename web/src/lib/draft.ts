import type { Config, Json, NewRun } from "../api/types";
import { applied, equal } from "./form";
import { tomlValue } from "./format";

/** A run before it is made: a preset (or the defaults) and what is changed of it. */
export interface Draft {
  preset: string | null;
  base: Config;
  set: Record<string, Json>;
  name: string;
}

/** `key=JSON` of the address as changes; what cannot be read is left out. */
export function readSet(texts: string[]): Record<string, Json> {
  const set: Record<string, Json> = {};
  for (const text of texts) {
    const [, key, value] = /^([a-z0-9_]+(?:\.[a-z0-9_]+)*)=(.*)$/s.exec(text) ?? [];
    if (key === undefined || value === undefined) continue;
    try {
      set[key] = JSON.parse(value) as Json;
    } catch {
      // A link that was cut short still opens.
    }
  }
  return set;
}

export function writeSet(set: Record<string, Json>): string[] {
  return Object.entries(set).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
}

/** The other one of the two keys of which one says how long a stage is; the key itself where there is none. */
const twinOf = (path: string) =>
  path.endsWith(".epochs") ? path.replace(/epochs$/, "steps") : path.replace(/steps$/, "epochs");

/** The changes with a field at a value; `originals` are the values of what is changed. */
export function changed(
  set: Record<string, Json>,
  originals: Record<string, Json>,
  path: string,
  value: Json,
): Record<string, Json> {
  const next = { ...set, [path]: value };
  // A new architecture leaves the old one's keys behind.
  if (path === "model.arch")
    for (const key of Object.keys(next)) if (key.startsWith("model.") && key !== path) delete next[key];
  if (twinOf(path) !== path && value !== null) delete next[twinOf(path)];
  if (equal(value, originals[path])) delete next[path];
  return next;
}

/** The changes without that of a field. */
export function unchanged(
  set: Record<string, Json>,
  originals: Record<string, Json>,
  path: string,
): Record<string, Json> {
  const { [path]: _, ...rest } = set;
  const twin = twinOf(path);
  if (twin !== path && originals[twin] !== undefined) delete rest[twin];
  return rest;
}

/** What to send. A key that is taken away cannot be said by `set`, so then the whole configuration is sent. */
export function newRun(draft: Draft): NewRun {
  const name = draft.name.trim();
  const named = name ? { name } : {};
  const whole = draft.preset === null || Object.values(draft.set).includes(null);
  if (whole) return { config: applied(draft.base, draft.set), ...named };
  return { preset: draft.preset as string, set: draft.set, ...named };
}

/** An argument as a POSIX shell takes it. */
export function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The folder name that a run's name makes. */
function folder(name: string): string {
  const plain = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  return `runs/${plain || "mine"}`;
}

/** The same run on the command line. */
export function cli(draft: Draft): string {
  const body = newRun(draft);
  const out = ["--out", folder(draft.name || draft.preset || "")];
  if (body.preset === undefined) return ["taper", "run", "taper.toml", ...out].join(" ");
  const sets = Object.entries(body.set ?? {}).flatMap(([key, value]) => [
    "--set",
    quoted(`${key}=${tomlValue(value)}`),
  ]);
  return ["taper", "run", quoted(body.preset), ...sets, ...out].join(" ");
}

/** The same run by HTTP. */
export function curl(draft: Draft, origin: string): string {
  const body = quoted(JSON.stringify(newRun(draft)));
  return `curl -X POST ${quoted(`${origin}/api/runs`)} -H 'content-type: application/json' -d ${body}`;
}
