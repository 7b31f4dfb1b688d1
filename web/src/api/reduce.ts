import type { RunSummary } from "./types";

/** What the page knows of all runs. Values are replaced, never changed. */
export interface World {
  runs: ReadonlyMap<string, RunSummary>;
  queue: readonly string[];
}

export const EMPTY: World = { runs: new Map(), queue: [] };

/** A message of `/api/events` that changes the world. */
export type Change =
  { type: "run"; run: RunSummary } | { type: "removed"; id: string } | { type: "queue"; queue: string[] };

export function reduce(world: World, change: Change): World {
  switch (change.type) {
    case "run":
      return { ...world, runs: new Map(world.runs).set(change.run.id, change.run) };
    case "removed": {
      const runs = new Map(world.runs);
      runs.delete(change.id);
      return { runs, queue: world.queue.filter((id) => id !== change.id) };
    }
    case "queue":
      return { ...world, queue: change.queue };
  }
}

/**
 * The world after `GET /api/runs` was answered, with the changes that came while it was under way.
 *
 * The answer may be older than those, so they are applied again on top of it.
 */
export function adopt(answer: { runs: RunSummary[]; queue: string[] }, since: Change[]): World {
  const world: World = { runs: new Map(answer.runs.map((run) => [run.id, run])), queue: answer.queue };
  return since.reduce(reduce, world);
}

/** Runs in the order of the queue, then those that only say that they are queued. */
export function queued(world: World): RunSummary[] {
  const listed = world.queue.flatMap((id) => world.runs.get(id) ?? []);
  const rest = [...world.runs.values()].filter(
    (run) => run.state === "queued" && !world.queue.includes(run.id),
  );
  return [...listed, ...rest.sort((a, b) => (a.position ?? 0) - (b.position ?? 0))];
}

/** The id that `id` has to stand before to move by `by` places; undefined where it cannot move. */
export function moveTarget(queue: readonly string[], id: string, by: number): string | null | undefined {
  const from = queue.indexOf(id);
  if (from < 0) return undefined;
  const rest = queue.filter((other) => other !== id);
  const to = Math.min(Math.max(from + by, 0), rest.length);
  return to === from ? undefined : (rest[to] ?? null);
}
