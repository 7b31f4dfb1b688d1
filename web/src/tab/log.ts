import type { BlockState, Entry, MemberState, StageState } from "../api/types";
import { grown, type Lines } from "../lib/series";

/** What is known of a run by its log: what the server makes of the same entries. */
export interface Known {
  adapter: string | null;
  stages: StageState[];
  members: MemberState[];
  blocks: BlockState[];
  lines: Lines;
  warnings: string[];
  /** How the last process ended; null while one is at work, or where it said nothing. */
  ended: { status: "done" | "stopped" | "failed"; error: string | null } | null;
}

export const NOTHING: Known = {
  adapter: null,
  stages: [],
  members: [],
  blocks: [],
  lines: {},
  warnings: [],
  ended: null,
};

/** What is known after an entry. Values are replaced, never changed. */
export function apply(known: Known, entry: Entry): Known {
  const next = { ...known, lines: grown(known.lines, entry, known.stages) };
  switch (entry.type) {
    case "run_started":
      return { ...planned(next, entry.stages), adapter: entry.adapter, ended: null };
    case "member_started": {
      const { member, method, seed, params, macs } = entry;
      const before = next.members.find((other) => other.member === member);
      const adapter = entry.adapter ?? next.adapter;
      const fresh: MemberState = before ?? { member, seed, finished: false };
      const state = { ...fresh, ...(method ? { method } : {}), params, macs, adapter };
      // A teacher from elsewhere, which is only tested, is in no stage.
      const members = before ? replaced(next.members, before, state) : [state, ...next.members];
      return { ...next, members };
    }
    case "stage_started": {
      const place = placeOf(next.stages, entry.member, entry.stage);
      const stages = entered(next.stages, place);
      const state = stages[place];
      if (!state) return next;
      const earlier = Math.max(entry.restart - 1, 0) * entry.steps;
      const done = earlier + entry.done;
      const begins = entry.restart <= 1 || !state.began;
      stages[place] = {
        ...state,
        earlier,
        done,
        restart: entry.restart,
        first_step: state.first_step ?? entry.step,
        last_step: entry.step + entry.done,
        memory: entry.memory,
        micro_batches: entry.micro_batches ?? 1,
        ...(begins ? { began: [entry.time, done] } : {}),
      };
      return { ...next, stages };
    }
    case "step": {
      const place = placeOf(next.stages, entry.member, entry.stage);
      const state = next.stages[place];
      if (!state) return next;
      const done = Math.min((state.earlier ?? 0) + entry.stage_step, state.steps);
      const stages = [...next.stages];
      stages[place] = timed({ ...state, done, last_step: entry.step }, entry.time);
      return { ...next, stages };
    }
    case "epoch":
      return member(next, entry.member, (state) => ({
        ...state,
        accuracy: entry.accuracy ?? state.accuracy ?? null,
        loss: entry.loss ?? null,
      }));
    case "block_started":
      return block(next, entry.member, entry.block, (state) => ({
        ...state,
        restarts: state.restarts + 1,
        fresh: entry.fresh,
        step: entry.step,
      }));
    case "block_narrowed": {
      const { step, dead } = entry;
      const [discrepancy, accuracy] = [entry.discrepancy ?? null, entry.accuracy ?? null];
      return block(next, entry.member, entry.block, (state) => ({
        ...state,
        discrepancy,
        accuracy,
        dead,
        step,
      }));
    }
    case "merge": {
      const stages = entered(next.stages, placeOf(next.stages, entry.member, "merge"));
      const { max_abs_error, relative_error, inputs, params_before, params_after } = entry;
      const merge = { max_abs_error, relative_error, inputs, params_before, params_after };
      return member({ ...next, stages }, entry.member, (state) => ({ ...state, merge }));
    }
    case "member_finished": {
      const { accuracy, train_error, params, macs } = entry;
      const [loss, answers, discrepancy, epochs, seconds] = [
        entry.loss ?? null,
        entry.answers ?? null,
        entry.discrepancy ?? null,
        entry.epochs ?? null,
        entry.seconds ?? null,
      ];
      const stages = next.stages.map((state) => (state.member === entry.member ? over(state) : state));
      return member({ ...next, stages }, entry.member, (state) => ({
        ...state,
        finished: true,
        ...{ accuracy, loss, train_error, answers, discrepancy, epochs, seconds, params, macs },
      }));
    }
    case "resumed":
      return takenBack(next, entry.member ?? null, entry.step);
    case "warning":
      return next.warnings.includes(entry.message)
        ? next
        : { ...next, warnings: [...next.warnings, entry.message] };
    case "run_finished":
      return { ...next, ended: { status: entry.status, error: entry.error ?? null } };
    default:
      return next;
  }
}

type Planned = Extract<Entry, { type: "run_started" }>["stages"];

/** The stages that a process will do, which are those that are known unless the configuration is another. */
function planned(known: Known, plan: Planned): Known {
  const same =
    known.stages.length === plan.length &&
    plan.every(
      ({ member, stage }, i) => known.stages[i]?.member === member && known.stages[i]?.stage === stage,
    );
  if (same) return known;
  const stages = plan.map(({ member, stage, steps, step_macs, batch, depends_on }): StageState => ({
    ...{ member, stage, steps, step_macs, done: 0, restart: 0, earlier: 0, state: "waiting" },
    batch: batch ?? 0,
    ...(depends_on ? { depends_on } : {}),
  }));
  const names = [...new Set(plan.map(({ member }) => member))];
  const members = names.map((name): MemberState => {
    const method = plan.find((stage) => stage.member === name && stage.method)?.method;
    const seed = Number(/-(\d+)$/.exec(name)?.[1] ?? 0);
    return { member: name, ...(method ? { method } : {}), seed, finished: false };
  });
  return { ...known, stages, members };
}

const placeOf = (stages: StageState[], member: string, stage: string) =>
  stages.findIndex((state) => state.member === member && state.stage === stage);

/** A stage that is over. */
const over = (state: StageState): StageState => ({
  ...state,
  state: "done",
  done: state.steps,
  eta_seconds: null,
});

/** The stages when one goes on: all that it waits for are over. */
function entered(stages: StageState[], place: number): StageState[] {
  const next = [...stages];
  const state = next[place];
  if (!state) return next;
  next[place] = { ...state, state: "running" };
  const ends = (at: number) => {
    for (const before of waitedFor(stages, at)) {
      const earlier = next[before];
      if (!earlier || earlier.state === "done") continue;
      next[before] = over(earlier);
      ends(before);
    }
  };
  ends(place);
  return next;
}

/** Places of what a stage waits for; an older log does not say it: there it is the one before of the same member. */
function waitedFor(stages: StageState[], place: number): number[] {
  const state = stages[place];
  if (state?.depends_on) return state.depends_on.filter((before) => before < place);
  const before = stages.slice(0, place).findLastIndex(({ member }) => member === state?.member);
  return before < 0 ? [] : [before];
}

/** The stage with the time that it took and that is left, by the rate so far. */
function timed(state: StageState, now: number): StageState {
  if (!state.began) return state;
  const [began, before] = state.began;
  const seconds = Math.max(now - began, 0);
  const [taken, left] = [state.done - before, state.steps - state.done];
  return { ...state, seconds, eta_seconds: taken > 0 ? (left * seconds) / taken : null };
}

function replaced<T>(list: T[], old: T, by: T): T[] {
  return list.map((one) => (one === old ? by : one));
}

function member(known: Known, name: string, change: (state: MemberState) => MemberState): Known {
  const old = known.members.find((state) => state.member === name);
  return old ? { ...known, members: replaced(known.members, old, change(old)) } : known;
}

/** Widths of blocks stand in no log: they are 0 until [`widened`] says them. */
function block(known: Known, name: string, k: number, change: (state: BlockState) => BlockState): Known {
  const old = known.blocks.find((state) => state.member === name && state.block === k);
  if (old) return { ...known, blocks: replaced(known.blocks, old, change(old)) };
  const fresh = { member: name, block: k, student_width: 0, teacher_width: 0, restarts: 0, step: 0 };
  return { ...known, blocks: [...known.blocks, change(fresh)] };
}

/** What happened after `step` did not happen. */
function takenBack(known: Known, name: string | null, step: number): Known {
  const meant = (other: string) => name === null || name === other;
  const stages = known.stages.map((state): StageState => {
    if (!meant(state.member) || (state.first_step ?? 0) <= step) return state;
    const { member, stage, steps, step_macs, batch, depends_on } = state;
    const waits = { member, stage, steps, step_macs, batch, done: 0, restart: 0, earlier: 0 };
    return { ...waits, state: "waiting", ...(depends_on ? { depends_on } : {}) };
  });
  const blocks = known.blocks.map((state) =>
    meant(state.member) && (state.step ?? 0) > step
      ? { ...state, discrepancy: null, accuracy: null, dead: null }
      : state,
  );
  return { ...known, stages, blocks };
}

/** The share that is done, from 0 to 1, weighed by multiply-adds. */
export function share(stages: StageState[]): number {
  const sum = (of: (state: StageState) => number) =>
    stages.reduce((sum, state) => sum + of(state) * Math.max(state.step_macs, 1), 0);
  const all = sum(({ steps }) => steps);
  return all > 0 ? sum(({ done, steps }) => Math.min(done, steps)) / all : 0;
}
