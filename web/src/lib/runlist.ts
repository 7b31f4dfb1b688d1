import type { RunSummary, State } from "../api/types";

/** The groups by which runs are filtered. */
export const GROUPS: Record<string, State[]> = {
  active: ["running", "pausing", "stopping"],
  waiting: ["draft", "queued", "paused"],
  done: ["done"],
  ended: ["stopped", "failed", "cancelled"],
};

export const SORTS = {
  created: (run: RunSummary) => run.created,
  name: (run: RunSummary) => run.name.toLowerCase(),
  state: (run: RunSummary) => run.state,
  progress: (run: RunSummary) => run.progress,
  eta: (run: RunSummary) => run.eta_seconds ?? null,
  accuracy: (run: RunSummary) => run.best_accuracy ?? null,
  adapter: (run: RunSummary) => run.adapter ?? null,
} satisfies Record<string, (run: RunSummary) => number | string | null>;

export type Sort = keyof typeof SORTS;

export function isSort(text: string | null): text is Sort {
  return text !== null && Object.hasOwn(SORTS, text);
}

export interface Filter {
  /** A group, or all. */
  group: string | null;
  /** Every word has to occur in name, tags, notes, id, preset, architecture, data set, adapter or methods. */
  words: string;
  sort: Sort;
  descending: boolean;
}

/** The runs that are wanted, in the wanted order; runs without a value are last either way. */
export function select(runs: Iterable<RunSummary>, filter: Filter): RunSummary[] {
  const states = filter.group === null ? undefined : GROUPS[filter.group];
  const words = filter.words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [...runs].filter((run) => {
    if (states && !states.includes(run.state)) return false;
    if (words.length === 0) return true;
    const { id, name, preset, arch, dataset, adapter, methods, state, tags = [], notes } = run;
    const text = [id, name, preset, arch, dataset, adapter, state, notes, ...methods, ...tags]
      .join(" ")
      .toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const value = SORTS[filter.sort];
  const sign = filter.descending ? -1 : 1;
  return found.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === y) return b.created - a.created || (a.id < b.id ? -1 : 1);
    if (x === null) return 1;
    if (y === null) return -1;
    return x < y ? -sign : sign;
  });
}
