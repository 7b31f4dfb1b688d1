/** Grids: one run for each combination of some values of some keys. */
import type { Json } from "../api/types";

/** Runs that a grid starts, at most. */
export const MOST_RUNS = 64;

/** A key of a configuration with the values that it takes in turn, as they are typed: `2, 4` or `"maf", "map"`. */
export interface Axis {
  key: string;
  values: string;
}

/** Values as they are typed, with commas between; what is no JSON is a string, as in `--grid`. */
export function parsed(values: string): Json[] {
  const parts: string[] = [];
  let [part, depth, quoted] = ["", 0, false];
  for (const letter of values) {
    if (letter === '"') quoted = !quoted;
    if (!quoted) depth += "[{".includes(letter) ? 1 : "]}".includes(letter) ? -1 : 0;
    if (letter === "," && depth === 0 && !quoted) {
      parts.push(part);
      part = "";
    } else part += letter;
  }
  return [...parts, part]
    .map((text) => text.trim())
    .filter((text) => text !== "")
    .map((text) => {
      try {
        return JSON.parse(text) as Json;
      } catch {
        return text;
      }
    });
}

/** What each run of a grid changes, the last key's values in turn first; the sentence of what is wrong with it. */
export function combinations(
  axes: readonly Axis[],
  known: ReadonlySet<string>,
): { sets: Record<string, Json>[] } | { wrong: string } {
  const filled = axes.map(({ key, values }) => ({ key: key.trim(), values: parsed(values) }));
  const used = filled.filter(({ key, values }) => key !== "" || values.length > 0);
  if (used.length === 0) return { wrong: "Name a key and its values." };
  for (const { key, values } of used) {
    if (!known.has(key)) return { wrong: `The configuration has no key “${key}”.` };
    if (used.filter((other) => other.key === key).length > 1) return { wrong: `“${key}” is named twice.` };
    if (values.length === 0) return { wrong: `“${key}” has no values.` };
    if (new Set(values.map((value) => JSON.stringify(value))).size < values.length)
      return { wrong: `“${key}” has a value twice.` };
  }
  const count = used.reduce((product, { values }) => product * values.length, 1);
  if (count > MOST_RUNS)
    return { wrong: `These are ${count} runs, and at most ${MOST_RUNS} are started at once.` };
  let sets: Record<string, Json>[] = [{}];
  for (const { key, values } of used)
    sets = sets.flatMap((set) => values.map((value) => ({ ...set, [key]: value })));
  return { sets };
}

/** What tells a run of a grid from the others: `factor=2 merge=map`. */
export const nameOf = (set: Record<string, Json>): string =>
  Object.entries(set)
    .map(([key, value]) => {
      const text = typeof value === "string" ? value : JSON.stringify(value);
      return `${key.slice(key.lastIndexOf(".") + 1)}=${text}`;
    })
    .join(" ");
