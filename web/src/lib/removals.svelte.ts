import { api } from "../api/client";
import { live } from "../api/live.svelte";
import type { RunSummary } from "../api/types";
import { says } from "./says.svelte";

/** So long a deletion can be taken back. */
const GRACE_MS = 8000;

/** Runs that are being deleted: they are out of sight, and their files go when nobody took it back in time, or when the page is left. */
class Removals {
  going = $state.raw<ReadonlySet<string>>(new Set());

  /** Deletes runs, unless *Undo* is pressed. */
  begin(runs: RunSummary[]): void {
    const ids = runs.map(({ id }) => id);
    const [first] = runs;
    if (!first) return;
    this.going = new Set([...this.going, ...ids]);
    const leave = () => void this.#end(runs, true);
    const timer = setTimeout(() => {
      removeEventListener("pagehide", leave);
      void this.#end(runs);
    }, GRACE_MS);
    addEventListener("pagehide", leave, { once: true });
    const what = runs.length === 1 ? `${first.name} is deleted.` : `${runs.length} runs are deleted.`;
    says.undoable(what, GRACE_MS, () => {
      clearTimeout(timer);
      removeEventListener("pagehide", leave);
      this.#back(ids);
    });
  }

  async #end(runs: RunSummary[], leaving = false): Promise<void> {
    // Where one is refused, the others go all the same.
    await Promise.all(
      runs.map(({ id }) =>
        api.remove(id, leaving).catch((error: unknown) => {
          says.bad(error);
        }),
      ),
    );
    if (leaving) return;
    await live.refresh();
    this.#back(runs.map(({ id }) => id));
  }

  #back(ids: string[]): void {
    this.going = new Set([...this.going].filter((id) => !ids.includes(id)));
  }
}

export const removals = new Removals();
