import { live } from "../api/live.svelte";
import type { RunSummary, State } from "../api/types";
import endedIcon from "../icon-ended.svg";
import failedIcon from "../icon-failed.svg";

const ENDED: State[] = ["done", "failed", "stopped", "paused"];
/** States that no run leaves by itself. */
const RESTING: State[] = [...ENDED, "draft", "cancelled"];
const ICON = "link[rel=icon]";
/** A tab that nobody sees has no stream of events: it asks so often how its runs stand. */
const ASK_MS = 20_000;

/**
 * Tells who has gone elsewhere that a run has ended: by a notification, where that was allowed, and by a dot on the tab's icon until the tab is
 * seen again.
 */
class Tell {
  /** Whether this browser can be asked, and has not been. */
  askable = $state(typeof Notification !== "undefined" && Notification.permission === "default");
  #before = new Map<string, State>();
  #plain: string | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  async ask(): Promise<void> {
    this.askable = (await Notification.requestPermission()) === "default";
  }

  /** Compares how runs stand with how they stood; the first time nothing is told. */
  hear(runs: Iterable<RunSummary>): void {
    const now = new Map([...runs].map((run) => [run.id, run]));
    for (const run of now.values()) {
      const before = this.#before.get(run.id);
      const ended = ENDED.includes(run.state);
      if (before && before !== run.state && ended && !ENDED.includes(before)) this.#tell(run);
    }
    this.#before = new Map([...now].map(([id, { state }]) => [id, state]));
  }

  #tell(run: RunSummary): void {
    if (!document.hidden) return;
    this.#mark(run.state === "failed" ? failedIcon : endedIcon);
    if (typeof Notification === "undefined" || Notification.permission !== "granted") return;
    const best = run.best_accuracy;
    const body = run.error ?? (typeof best === "number" ? `best accuracy ${best.toFixed(2)} %` : "");
    const note = new Notification(`${run.name}: ${run.state}`, { body, tag: run.id });
    note.onclick = () => {
      focus();
      location.assign(`/runs/${encodeURIComponent(run.id)}`);
    };
  }

  #mark(icon: string): void {
    const link = document.querySelector<HTMLLinkElement>(ICON);
    if (!link) return;
    this.#plain ??= link.href;
    link.href = icon;
  }

  /** The tab is seen again, or not any more. */
  seen(seen: boolean): void {
    clearInterval(this.#timer);
    if (!seen) {
      this.#timer = setInterval(() => {
        // Where nothing goes on, nothing ends.
        const states = [...this.#before.values()];
        if (states.some((state) => !RESTING.includes(state))) void live.refresh();
      }, ASK_MS);
      return;
    }
    const link = document.querySelector<HTMLLinkElement>(ICON);
    if (link && this.#plain) link.href = this.#plain;
  }
}

export const tell = new Tell();

/** Follows the runs of the server; called once, in the page's root. */
export function follow(): void {
  $effect(() => {
    if (live.ready) tell.hear(live.world.runs.values());
  });
}
