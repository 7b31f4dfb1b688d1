import type { CompareRow, Metrics, RunDetail, StageState } from "../api/types";
import type { Line, SeriesName } from "./series";
import { spreadOf } from "./statistics";

/** Whether all rows had the same number of student epochs, to a hundredth. */
export function equalEpochs(rows: CompareRow[]): { equal: boolean; least: number; most: number } {
  const epochs = rows.flatMap(({ epochs }) => epochs ?? []);
  const [least, most] = [Math.min(...epochs), Math.max(...epochs)];
  return { equal: most - least < 0.005, least, most };
}

/** Rows of one configuration, in the order of the answer. */
export function byLabel(rows: CompareRow[]): { label: string | null; rows: CompareRow[] }[] {
  const groups = new Map<string | null, CompareRow[]>();
  for (const row of rows) {
    const label = row.label ?? null;
    groups.set(label, [...(groups.get(label) ?? []), row]);
  }
  return [...groups].map(([label, rows]) => ({ label, rows }));
}

export interface RunCurve {
  run: string;
  member: string;
  method: string;
  line: Line;
}

/** The curves of one series of several runs, by the methods that `details` has of their members; `teacher` is a method here. */
export function curvesOf(
  answers: { run: string; metrics: Metrics }[],
  details: Map<string, Pick<RunDetail, "members">>,
  name: SeriesName,
): RunCurve[] {
  return answers.flatMap(({ run, metrics }) =>
    metrics.members.flatMap(({ member, series }) => {
      const found = series.find((series) => series.name === name);
      const known = details.get(run)?.members.find((state) => state.member === member);
      return found && known && found.x.length > 0
        ? [{ run, member, method: known.method ?? "teacher", line: { x: found.x, y: found.y } }]
        : [];
    }),
  );
}

/** What the x of a curve counts. */
export type Along = "step" | "epoch" | "time";

/** Passes over `images` training samples after each step of a member, by the batches of its stages. */
export function epochsAt(
  stages: readonly Pick<StageState, "first_step" | "steps" | "done" | "batch">[],
  images: number,
): (step: number) => number {
  const trained = stages
    .filter(({ first_step, batch }) => typeof first_step === "number" && batch > 0)
    .map(({ first_step, batch }) => ({ first: first_step as number, batch }))
    .sort((a, b) => a.first - b.first);
  return (step) => {
    let samples = 0;
    for (const [k, { first, batch }] of trained.entries()) {
      const end = Math.min(step, trained[k + 1]?.first ?? Infinity);
      if (end > first) samples += (end - first) * batch;
    }
    return samples / images;
  };
}

/** Seconds of training after each step, by the time of a step along the way; steps before the first of them took as long as it. */
export function secondsAt(stepMs: Line): (step: number) => number {
  const sums: number[] = [];
  let [sum, last, known] = [0, 0, 0];
  for (const [k, x] of stepMs.x.entries()) {
    known = stepMs.y[k] ?? known;
    sum += ((x - last) * known) / 1000;
    sums.push(sum);
    last = x;
  }
  return (step) => {
    const next = stepMs.x.findIndex((x) => x >= step);
    if (next < 0) return sum + ((step - last) * known) / 1000;
    const [from, to] = [stepMs.x[next - 1] ?? 0, stepMs.x[next] ?? step];
    const [before, after] = [sums[next - 1] ?? 0, sums[next] ?? 0];
    return to > from ? before + ((after - before) * (step - from)) / (to - from) : after;
  };
}

/** A line over another x. */
export const over = (line: Line, at: (step: number) => number): Line => ({ x: line.x.map(at), y: line.y });

/** The value of a line at x, between its points; none outside of it or where it is no number. */
function valueAt(line: Line, x: number): number | null {
  const next = line.x.findIndex((other) => other >= x);
  if (next < 0) return null;
  if (line.x[next] === x) return line.y[next] ?? null;
  if (next === 0) return null;
  const [a, b] = [line.y[next - 1], line.y[next]];
  const [from, to] = [line.x[next - 1] as number, line.x[next] as number];
  if (a === null || a === undefined || b === null || b === undefined) return null;
  return a + ((b - a) * (x - from)) / (to - from);
}

/** Mean of several lines and mean ± sample deviation, where all of them have a value: at the points of the first. */
export function banded(lines: readonly Line[]): { line: Line; band: { low: Line; high: Line } } {
  const x: number[] = [];
  const [mean, low, high]: [number[], number[], number[]] = [[], [], []];
  for (const at of lines[0]?.x ?? []) {
    const values = lines.flatMap((line) => valueAt(line, at) ?? []);
    if (values.length < lines.length) continue;
    const { mean: middle, deviation } = spreadOf(values);
    x.push(at);
    mean.push(middle);
    low.push(middle - (deviation ?? 0));
    high.push(middle + (deviation ?? 0));
  }
  return { line: { x, y: mean }, band: { low: { x, y: low }, high: { x, y: high } } };
}

/** A label with each key as short as its last part, where no other key of these labels ends in the same. */
export function shortLabels(labels: readonly string[]): (label: string) => string {
  const keyOf = (part: string) => part.slice(0, part.indexOf("="));
  const parts = (label: string) =>
    label.split(" ").reduce<string[]>((all, part) => {
      // A value may have spaces; what has no key goes on with it.
      if (/^[a-z_.]+=/.test(part)) all.push(part);
      else all[all.length - 1] = `${all.at(-1) ?? ""} ${part}`.trim();
      return all;
    }, []);
  const last = (key: string) => key.slice(key.lastIndexOf(".") + 1);
  const keys = new Set(labels.flatMap((label) => parts(label).map(keyOf)));
  const ends = [...keys].map(last);
  const short = (key: string) => (ends.filter((end) => end === last(key)).length > 1 ? key : last(key));
  return (label) =>
    parts(label)
      .map((part) => short(keyOf(part)) + part.slice(part.indexOf("=")))
      .join(" ");
}

/** The keys of labels with their values, by label: what a grid varies. */
export function gridOf(labels: readonly string[]): {
  keys: string[];
  values: Map<string, Map<string, string>>;
} {
  const values = new Map<string, Map<string, string>>();
  const keys: string[] = [];
  for (const label of labels) {
    const of = new Map<string, string>();
    for (const [, key, value] of label.matchAll(
      /([a-z_]+(?:\.[a-z_0-9]+)*)=(.*?)(?= [a-z_]+(?:\.[a-z_0-9]+)*=|$)/g,
    )) {
      if (key === undefined || value === undefined) continue;
      of.set(key, value);
      if (!keys.includes(key)) keys.push(key);
    }
    values.set(label, of);
  }
  return { keys, values };
}

/** Values in the order in which a person has them: numbers by size, others by their letters. */
export function ordered(values: Iterable<string>): string[] {
  const all = [...new Set(values)];
  const numbers = all.every((value) => value.trim() !== "" && Number.isFinite(Number(value)));
  return all.sort((a, b) => (numbers ? Number(a) - Number(b) : a < b ? -1 : a > b ? 1 : 0));
}
