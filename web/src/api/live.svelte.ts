import { api, sentence, unauthorised } from "./client";
import { adopt, EMPTY, reduce, type Change, type World } from "./reduce";
import type { Entry, RunSummary } from "./types";

export type Connection = "connecting" | "live" | "reconnecting";

/** Longest wait between two tries to reach a server that answers with an error. */
const PATIENCE_MS = 15_000;

/**
 * The one stream of events of this tab, and what it says of all runs.
 *
 * The browser connects again by itself and tells the server the last id that it saw; the server then replays, or says `reset` where
 * it no longer can, and everything is fetched anew.
 */
class Live {
  world: World = $state.raw(EMPTY);
  connection: Connection = $state("connecting");
  /** Whether the list of runs has come at least once. */
  ready = $state(false);
  /** Why the list of runs could not be fetched. */
  problem: string | null = $state(null);

  #started = false;
  #source: EventSource | null = null;
  #lastId = "";
  #watched = new Map<string, Set<(entry: Entry) => void>>();
  #opened = "";
  #retry: ReturnType<typeof setTimeout> | undefined;
  #wait = 1000;
  #onReset = new Set<() => void>();
  /** Changes since the list was asked for; null while nothing is under way. */
  #since: Change[] | null = null;

  /** Begins to listen, if the tab is seen. */
  start(seen = true): () => void {
    this.#started = true;
    this.seen(seen);
    void this.refresh();
    return () => {
      this.stop();
    };
  }

  stop(): void {
    this.#started = false;
    this.#close();
  }

  /**
   * A tab that nobody sees gives its stream back, and catches up once it is seen again: browsers allow six connections to a server,
   * over all tabs.
   */
  seen(seen: boolean): void {
    if (!seen) this.#close();
    else if (this.#started && !this.#source) this.#open();
  }

  #close(): void {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }

  /** Fetches the list of runs. */
  async refresh(): Promise<void> {
    const since: Change[] = (this.#since = []);
    try {
      const answer = await api.runs();
      if (this.#since !== since) return; // a later call is under way
      this.world = adopt(answer, since);
      this.ready = true;
      this.problem = null;
    } catch (error) {
      this.problem = sentence(error).message;
    } finally {
      if (this.#since === since) this.#since = null;
    }
  }

  /** A run as an answer of the server showed it, before the stream says so as well. */
  learn(run: RunSummary): void {
    this.#apply({ type: "run", run });
  }

  learnQueue(queue: string[]): void {
    this.#apply({ type: "queue", queue });
  }

  /** Hears the log of a run until the answered function is called. */
  watch(id: string, hear: (entry: Entry) => void): () => void {
    const ears = this.#watched.get(id) ?? new Set();
    ears.add(hear);
    this.#watched.set(id, ears);
    this.#rewire();
    return () => {
      ears.delete(hear);
      if (ears.size === 0) this.#watched.delete(id);
      this.#rewire();
    };
  }

  /** Called when too much was missed and views should fetch anew. */
  onReset(callback: () => void): () => void {
    this.#onReset.add(callback);
    return () => this.#onReset.delete(callback);
  }

  #apply(change: Change): void {
    this.#since?.push(change);
    this.world = reduce(this.world, change);
  }

  #address(): string {
    const query = new URLSearchParams();
    const runs = [...this.#watched.keys()].sort().join(",");
    if (runs) query.set("runs", runs);
    if (this.#lastId) query.set("last_event_id", this.#lastId);
    return `/api/events?${query.toString()}`;
  }

  /** Opens the stream again where other runs are watched now; once for all that changes in a turn. */
  #rewire(): void {
    queueMicrotask(() => {
      const watched = [...this.#watched.keys()].sort().join(",");
      if (this.#source && watched !== this.#opened) this.#open();
    });
  }

  #open(): void {
    this.#close();
    this.#opened = [...this.#watched.keys()].sort().join(",");
    const source = (this.#source = new EventSource(this.#address()));
    const on = (name: string, act: (data: never) => void) => {
      source.addEventListener(name, (event: MessageEvent<string>) => {
        // `hello` tells the newest number before what leads up to it was replayed.
        if (event.lastEventId && (name !== "hello" || !this.#lastId)) this.#lastId = event.lastEventId;
        act(JSON.parse(event.data || "null") as never);
      });
    };
    on("hello", (hello: { last?: number } | null) => {
      this.connection = "live";
      this.#wait = 1000;
      // A server that is behind us has other data than the one we knew.
      if (hello?.last !== undefined && Number(this.#lastId) > hello.last) this.#reset(String(hello.last));
      else if (!this.ready) void this.refresh();
    });
    on("run", (run: RunSummary) => {
      this.#apply({ type: "run", run });
    });
    on("removed", ({ id }: { id: string }) => {
      this.#apply({ type: "removed", id });
    });
    on("queue", ({ queue }: { queue: string[] }) => {
      this.#apply({ type: "queue", queue });
    });
    on("entry", ({ run, entry }: { run: string; entry: Entry }) => {
      for (const hear of this.#watched.get(run) ?? []) hear(entry);
    });
    on("reset", () => {
      this.#reset(this.#lastId);
    });
    source.onerror = () => {
      this.connection = "reconnecting";
      if (source.readyState !== EventSource.CLOSED) return;
      // The browser gives up where the answer is an error; we do not.
      this.#retry = setTimeout(() => void this.#openAgain(), this.#wait);
      this.#wait = Math.min(this.#wait * 2, PATIENCE_MS);
    };
  }

  /** A stream that was refused may only want the token; else it is tried again. */
  async #openAgain(): Promise<void> {
    const source = this.#source;
    const session = await api.session().catch(() => null);
    if (this.#source !== source) return;
    if (session?.required && !session.ok) unauthorised();
    else this.#open();
  }

  #reset(last: string): void {
    this.#lastId = last;
    void this.refresh();
    for (const callback of this.#onReset) callback();
  }
}

export const live = new Live();
