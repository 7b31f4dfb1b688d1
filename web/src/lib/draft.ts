import type { Config, Dataset, Json, NewRun } from "../api/types";
import { applied, equal, flat, TEXTS } from "./form";
import { grouped, tomlValue } from "./format";

/** The preset whose keys the server chooses by the pictures. */
export const PICTURES = "pictures";

/** A run before it is made: a preset (or the defaults) and what is changed of it. */
export interface Draft {
  preset: string | null;
  /** What the preset says, with what was chosen by the pictures. */
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

/** Sections that have batches. */
const STAGES = ["wide", "vanilla", "kd", "fitnets", "narrow", "tune"];

const isText = (values: Record<string, Json>) =>
  TEXTS.includes(values["data.kind"]) || values["model.arch"] === "bert";

/** Most images or sentences that can be trained and tested on; `together` where the latter are held out of the former. */
function room({ train_count, test_count, account }: Dataset) {
  const used = account?.used;
  if (!used) return { train: train_count, test: test_count, together: Infinity };
  const together = [...used.train, ...used.test].reduce((sum, count) => sum + count, 0);
  return { train: together, test: together, together };
}

/**
 * The changes of another preset (or the defaults) that is chosen while a configuration has data: these stay, and what the preset asks of data that
 * these have not is changed, with a line that says so. `dataset` is what is known of the data.
 */
export function carried(
  config: Config,
  preset: Config,
  name: string,
  dataset: Dataset | undefined,
): { set: Record<string, Json>; lines: string[] } {
  const [now, next] = [flat(config), flat(preset)];
  const path = now["data.path"];
  if (typeof path !== "string") return { set: {}, lines: [] };
  const whose = dataset?.name ?? path;
  if (isText(now) !== isText(next)) {
    const reads = isText(next) ? "reads text" : "reads pictures";
    return { set: {}, lines: [`${name} ${reads}, so ${whose} is not its data any more.`] };
  }
  const set: Record<string, Json> = { "data.kind": now["data.kind"] ?? null, "data.path": path };
  const lines: string[] = [];
  // How large the network sees the pictures is the preset's to say; where it does not, what it was stays.
  if (name !== PICTURES && next["data.size"] == null && now["data.size"] != null)
    set["data.size"] = now["data.size"];
  if (!dataset) return { set, lines };
  const there = room(dataset);
  const asked = (key: string) => (typeof next[key] === "number" ? next[key] : 0);
  const [train, test] = [asked("data.train_count"), asked("data.test_count")];
  const over = train + test > there.together;
  for (const [key, count, most, what] of [
    ["data.train_count", train, there.train, "training"],
    ["data.test_count", test, there.test, "test"],
  ] as const) {
    if (count === 0 || (count <= most && !over)) continue;
    set[key] = null;
    lines.push(
      `${name} asks for ${grouped(count)} ${what} images, and ${whose} has ${grouped(over ? there.together : most)}${over ? " in all" : ""}: all that are there are used.`,
    );
  }
  const used = dataset.account?.used?.train.reduce((sum, count) => sum + count, 0) ?? dataset.train_count;
  const trained = "data.train_count" in set || train === 0 ? used : train;
  const least = Math.max(1, trained);
  for (const section of STAGES) {
    const batch = asked(`${section}.batch`);
    if (batch > least) set[`${section}.batch`] = 2 ** Math.floor(Math.log2(least));
  }
  const small = STAGES.filter((section) => `${section}.batch` in set);
  if (small.length > 0)
    lines.push(
      `${name} has larger batches than the ${grouped(trained)} training images: ${small.join(", ")} have ${String(set[`${small[0]}.batch`])}.`,
    );
  return { set, lines };
}

/** What to send. A key that is taken away cannot be said by `set`, so then the whole configuration is sent. */
export function newRun(draft: Draft): NewRun {
  const name = draft.name.trim();
  const named = name ? { name } : {};
  // What the server chose goes by what was set then: changes are sent with it, so that nothing is chosen anew.
  const chosen = (key: string) => key !== "data.path" && key !== "data.kind";
  const whole =
    draft.preset === null ||
    Object.values(draft.set).includes(null) ||
    (draft.preset === PICTURES && Object.keys(draft.set).some(chosen));
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
