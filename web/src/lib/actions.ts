import { api, type Verb } from "../api/client";
import { live } from "../api/live.svelte";
import type { RunSummary, State } from "../api/types";
import { router } from "./router.svelte";
import { says } from "./says.svelte";

/** What a run in a state can be asked to do, in the order of buttons. */
export const VERBS: Record<State, Verb[]> = {
  draft: ["start", "cancel"],
  queued: ["stop", "cancel"],
  running: ["pause", "stop", "cancel"],
  pausing: ["cancel"],
  paused: ["resume", "stop", "cancel"],
  stopping: ["cancel"],
  stopped: ["resume"],
  done: [],
  failed: ["resume"],
  cancelled: [],
};

export const EXPLAINED: Record<Verb, string> = {
  start: "Put the run into the queue",
  pause: "Write a checkpoint and free the adapter; resume goes on from there",
  resume: "Go on from the last checkpoint, at the head of the queue",
  stop: "Write a checkpoint and end; the run may be resumed later",
  cancel: "End at once, without a checkpoint",
};

/** Whether a process may be alive, so that the run cannot be deleted. */
export function isAlive(state: State): boolean {
  return state === "running" || state === "pausing" || state === "stopping";
}

/** Does it, and says what the server said if it would not. */
export async function act(run: RunSummary, verb: Verb): Promise<void> {
  try {
    live.learn(await api.verb(run.id, verb));
  } catch (error) {
    says.bad(error);
  }
}

/** A new run of the same configuration, opened. */
export async function clone(run: RunSummary): Promise<void> {
  try {
    const made = await api.clone(run.id);
    live.learn(made);
    says.good(`${made.name} is a copy of ${run.name}.`);
    router.go(`/runs/${encodeURIComponent(made.id)}`);
  } catch (error) {
    says.bad(error);
  }
}

export async function move(id: string, before: string | null): Promise<void> {
  try {
    live.learnQueue((await api.move(id, before)).queue);
  } catch (error) {
    says.bad(error);
  }
}
