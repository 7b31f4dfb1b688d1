import type { Entry, StageState } from "../api/types";

/** A curve: x grows; y is null where the value was no number. */
export interface Line {
  x: number[];
  y: (number | null)[];
}

/** Most points of a curve that is kept; more are thinned to half of it. */
export const MOST_POINTS = 4000;

/** The line with a point at its end; a point that is already there, or behind, changes nothing. */
export function append(line: Line, x: number, y: number | null): Line {
  const last = line.x.at(-1);
  if (last !== undefined && x <= last) return line;
  const longer = { x: [...line.x, x], y: [...line.y, y] };
  return longer.x.length > MOST_POINTS ? thin(longer, MOST_POINTS / 2) : longer;
}

/** What a resume from step `last` leaves: the points up to it. */
export function cut(line: Line, last: number): Line {
  const end = line.x.findIndex((x) => x > last);
  return end < 0 ? line : { x: line.x.slice(0, end), y: line.y.slice(0, end) };
}

/** The line with all its points inside `part`'s range replaced by `part`. */
export function overlay(line: Line, part: Line): Line {
  const [from, to] = [part.x[0], part.x.at(-1)];
  if (from === undefined || to === undefined) return line;
  const start = line.x.findIndex((x) => x >= from);
  const head = start < 0 ? line.x.length : start;
  const end = line.x.findIndex((x) => x > to);
  const tail = end < 0 ? line.x.length : end;
  return {
    x: [...line.x.slice(0, head), ...part.x, ...line.x.slice(tail)],
    y: [...line.y.slice(0, head), ...part.y, ...line.y.slice(tail)],
  };
}

/**
 * At most `points` points, with the least and the greatest of each bucket kept, and what is no number kept as one: a spike or a NaN
 * is never thinned away.
 */
export function thin(line: Line, points: number): Line {
  const n = line.x.length;
  if (n <= points) return line;
  // Up to three points a bucket: least, greatest, one that is no number.
  const buckets = Math.max(1, Math.floor(points / 3));
  const thinned: Line = { x: [], y: [] };
  for (let bucket = 0; bucket < buckets; bucket += 1) {
    const [from, to] = [Math.floor((bucket * n) / buckets), Math.floor(((bucket + 1) * n) / buckets)];
    const kept = new Set<number>();
    let [least, greatest, none] = [-1, -1, -1];
    for (let i = from; i < to; i += 1) {
      const value = line.y[i];
      if (value === null || value === undefined) none = i;
      else {
        if (least < 0 || value < (line.y[least] ?? Infinity)) least = i;
        if (greatest < 0 || value > (line.y[greatest] ?? -Infinity)) greatest = i;
      }
    }
    for (const i of [least, greatest, none]) if (i >= 0) kept.add(i);
    for (const i of [...kept].sort((a, b) => a - b)) {
      thinned.x.push(line.x[i] as number);
      thinned.y.push(line.y[i] ?? null);
    }
  }
  return thinned;
}

/** Curves over one common x: undefined where a curve has no point, so that it is drawn through. */
export function align(lines: readonly Line[]): { x: number[]; ys: (number | null | undefined)[][] } {
  const all = new Set<number>();
  for (const line of lines) for (const x of line.x) all.add(x);
  const x = [...all].sort((a, b) => a - b);
  const place = new Map(x.map((value, i) => [value, i]));
  const ys = lines.map((line) => {
    const y: (number | null | undefined)[] = new Array<undefined>(x.length).fill(undefined);
    line.x.forEach((value, i) => (y[place.get(value) as number] = line.y[i] ?? null));
    return y;
  });
  return { x, ys };
}

/** Rows that a table of curves has at most. */
const ROWS = 40;

/** Curves as the rows of a table: at some of the steps, the first and the last among them, each curve's last value up to there. */
export function rows({ x, ys }: ReturnType<typeof align>): {
  x: number;
  ys: (number | null | undefined)[];
}[] {
  const stride = Math.max(1, (x.length - 1) / (ROWS - 1));
  const count = Math.min(ROWS, x.length);
  const upTo = (y: (number | null | undefined)[], at: number) => {
    for (let i = at; i >= 0; i -= 1) if (y[i] !== undefined) return y[i];
    return undefined;
  };
  return Array.from({ length: count }, (_, k) => {
    const at = Math.round(k * stride);
    return { x: x[at] as number, ys: ys.map((y) => upTo(y, at)) };
  });
}

/** Names of `/metrics`' series. */
export type SeriesName = "loss" | "accuracy" | "test_loss" | "lr" | "samples_per_s" | "step_ms";

/** The points that an entry of the log stands for; `batch` answers the inputs of a step of a stage. */
export function points(
  entry: Entry,
  batch: (stage: string) => number | undefined,
): { member: string; x: number; values: Partial<Record<SeriesName, number | null>> } | null {
  if (entry.type === "step") {
    const { member, step, loss, lr, samples_per_s } = entry;
    const inputs = batch(entry.stage);
    const values: Partial<Record<SeriesName, number | null>> = { loss: loss ?? null, lr, samples_per_s };
    if (inputs !== undefined && samples_per_s > 0) values.step_ms = (1000 * inputs) / samples_per_s;
    return { member, x: step, values };
  }
  if (entry.type === "epoch") {
    const values: Partial<Record<SeriesName, number | null>> = { test_loss: entry.loss ?? null };
    if (entry.accuracy !== undefined && entry.accuracy !== null) values.accuracy = entry.accuracy;
    return { member: entry.member, x: entry.step, values };
  }
  return null;
}

/** Curves by member and name. */
export type Lines = Record<string, Partial<Record<SeriesName, Line>>>;

/** The curves after an entry of the log: with its points, or without those that a resume took back. */
export function grown(lines: Lines, entry: Entry, stages: readonly StageState[]): Lines {
  if (entry.type === "resumed") {
    const next = { ...lines };
    for (const [member, of] of Object.entries(lines)) {
      if (entry.member && entry.member !== member) continue;
      next[member] = Object.fromEntries(
        Object.entries(of).map(([name, line]) => [name, cut(line, entry.step)]),
      );
    }
    return next;
  }
  const member = "member" in entry ? entry.member : undefined;
  /** Inputs of a step of a stage of the member; an older log does not say it. */
  const batch = (stage: string) =>
    stages.find((known) => known.member === member && known.stage === stage)?.batch || undefined;
  const point = points(entry, batch);
  if (!point) return lines;
  const of = { ...lines[point.member] };
  for (const [name, value] of Object.entries(point.values) as [SeriesName, number | null][]) {
    of[name] = append(of[name] ?? { x: [], y: [] }, point.x, value);
  }
  return { ...lines, [point.member]: of };
}
