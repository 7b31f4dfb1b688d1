import type { Entry, NetworkSize, Preset, Review, Versus } from "../api/types";
import type { Shown } from "../lib/review";
import type { Ask, Told } from "../train/protocol";
import { awake } from "./awake";
import { presetOf, readable } from "./config";
import { CONFIG, entries, EVENTS, file, root, RUNS } from "./disk";
import { apply, NOTHING, type Known } from "./log";

/** The worker and the engine are parts of their own; a page that was built without them has none. */
const [worker] = Object.values(
  import.meta.glob<new (options: { name: string }) => Worker>("../train/worker.ts", {
    query: "?worker",
    import: "default",
  }),
);
const [engine] = Object.values(
  import.meta.glob<string>("../train/taper_tab.wasm", { query: "?url", import: "default" }),
);

/** What is said where there is none. */
const NO_ENGINE =
  "This page was built without the engine: `cargo xtask page` builds it where Rust has its target wasm32-unknown-unknown.";
/** One run at a time on this machine's GPU, whichever tab it is in. */
const LOCK = "taper-training";
/** Entries are shown so often. */
const REST_MS = 200;

/** What a run would train, as far as the worker says it. */
export interface Outline {
  student?: NetworkSize;
  teacher?: NetworkSize | null;
  stages?: { member: string; stage: string; steps: number; method?: string | null }[];
  /** What the stages of each method need, in bytes of this browser's GPU, and what of it does not fit. */
  needs?: { method: string; stage: string; memory: number; micro_batches: number; problem: string | null }[];
  warnings?: string[];
}

/** What came of looking at a configuration. */
export type Looked = { toml: string; outline: Outline } | { refused: string };

/** The worker that trains, and the run that it is at. There is one of a page: it goes on while other views are shown. */
class Trainer {
  state = $state<"closed" | "opening" | "ready" | "unable">("closed");
  /** Why there is no training here. */
  message = $state("");
  adapter = $state("");
  presets = $state.raw<Preset[]>([]);
  /** The run that is trained, or was last. */
  run = $state<string | null>(null);
  /** Whether it is at work, or shall end. */
  work = $state<"idle" | "training" | "stopping">("idle");
  known = $state.raw<Known>(NOTHING);
  /** What the worker says beside the log, newest last. */
  said = $state.raw<string[]>([]);
  /** How the last run ended, where its log has no room for it. */
  failure = $state<string | null>(null);
  /** Grows when a run ends. */
  ends = $state(0);

  #worker: Worker | null = null;
  #waiting: Entry[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Who waits for an answer, and what is asked after it. */
  #asked: ((told: Told) => void) | null = null;
  #turn: Promise<unknown> = Promise.resolve();
  #unlock: (() => void) | null = null;
  #awake: ReturnType<typeof awake> | null = null;

  /** Starts the worker, once. */
  async open(): Promise<void> {
    if (this.state !== "closed") return;
    this.state = "opening";
    this.#awake ??= awake(() => this.work !== "idle");
    if (!worker || !engine) {
      this.#unable(NO_ENGINE);
      return;
    }
    try {
      const [Engine, address] = await Promise.all([worker(), engine()]);
      // A worker's name is all that it is told before its first message.
      const made = (this.#worker = new Engine({ name: new URL(address, location.href).href }));
      made.onmessage = ({ data }: MessageEvent<Told>) => {
        this.#hear(data);
      };
      made.onerror = (event) => {
        event.preventDefault();
        this.#broke(event.message || "the engine could not be fetched");
      };
    } catch (error) {
      this.#broke(error instanceof Error ? error.message : String(error));
    }
  }

  /** Settles a configuration and says what it would train and need. */
  async look(toml: string): Promise<Looked> {
    const told = await this.#question({ kind: "look", toml });
    if (told.kind === "looked") return { toml: told.toml, outline: (told.outline ?? {}) as Outline };
    return { refused: told.kind === "refused" ? told.message : "The worker ended." };
  }

  /** `plan.json` of a model, by the path of its folder on the disk. */
  async plan(model: string): Promise<Blob> {
    const told = await this.#question({ kind: "plan", model });
    if (told.kind === "planned") return new Blob([JSON.stringify(told.plan)], { type: "application/json" });
    throw unanswered(told);
  }

  /** What a member or teacher says of the test pictures, by the path of its folder on the disk; null where it has no answers to any. */
  async review(of: string): Promise<Review | null> {
    const told = await this.#question({ kind: "review", of });
    if (told.kind === "reviewed") return told.review;
    throw unanswered(told);
  }

  /** Two of them, picture by picture. */
  async versus(first: string, second: string): Promise<Versus> {
    const told = await this.#question({ kind: "versus", first, second });
    if (told.kind === "versus") return told.versus;
    throw unanswered(told);
  }

  /** Test pictures of a run by their places. */
  async pictures(run: string, places: number[]): Promise<Shown[]> {
    const told = await this.#question({ kind: "pictures", run, places });
    if (told.kind !== "pictures") throw unanswered(told);
    return told.pictures.map(({ index, label, name, ...image }) => ({
      index,
      label,
      name,
      image: { ...image, pixels: Uint8Array.from(image.pixels) },
    }));
  }

  /** Begins a run; the name must be free. */
  async start(run: string, toml: string): Promise<void> {
    await this.#begin(run, NOTHING, { kind: "start", run, toml });
  }

  /** Goes on with a run of the disk. */
  async resume(run: string): Promise<void> {
    await this.#begin(run, await known(run), { kind: "resume", run });
  }

  stop(): void {
    if (this.work !== "training") return;
    this.work = "stopping";
    this.#ask({ kind: "stop" });
  }

  /** The page is hidden: it may be frozen or closed at any time. */
  hidden(): void {
    if (this.work === "training") this.#ask({ kind: "checkpoint" });
  }

  async #begin(run: string, from: Known, ask: Ask): Promise<void> {
    if (this.work !== "idle")
      throw new Error(`${this.run ?? "Another run"} is trained in this tab: stop it first.`);
    await this.#lock();
    // A browser that is short of room keeps what is persisted; it may say no, and the run goes on.
    await navigator.storage.persist().catch(() => false);
    [this.run, this.known, this.said, this.failure] = [run, { ...from, ended: null }, [], null];
    this.work = "training";
    this.#awake?.look();
    this.#ask(ask);
  }

  /** Takes this machine's only place for training, until the run ends. */
  #lock(): Promise<void> {
    return new Promise((begin, refuse) => {
      void navigator.locks.request(LOCK, { ifAvailable: true }, (lock) => {
        if (!lock) {
          refuse(new Error("Another tab of this browser trains already: one run at a time."));
          return;
        }
        begin();
        return new Promise<void>((done) => (this.#unlock = done));
      });
    });
  }

  /** Asks when what was asked before is answered: answers do not say of what they are. */
  #question(ask: Ask): Promise<Told> {
    const turn = this.#turn.then(
      () =>
        new Promise<Told>((answer) => {
          if (!this.#worker) {
            answer({ kind: "refused", message: this.message });
            return;
          }
          this.#asked = answer;
          this.#ask(ask);
        }),
    );
    this.#turn = turn;
    return turn;
  }

  /** Whether somebody waited for it. */
  #answer(told: Told): boolean {
    const asked = this.#asked;
    this.#asked = null;
    asked?.(told);
    return asked !== null;
  }

  #ask(ask: Ask): void {
    this.#worker?.postMessage(ask);
  }

  #hear(told: Told): void {
    switch (told.kind) {
      case "ready":
        [this.adapter, this.presets] = [told.adapter, told.presets.map(presetOf).filter(readable)];
        this.state = "ready";
        break;
      case "unable":
        this.#unable(told.message);
        break;
      case "looked":
      case "planned":
      case "reviewed":
      case "versus":
      case "pictures":
        this.#answer(told);
        break;
      case "refused":
        // Where nobody asked, it is the run that was to begin.
        if (!this.#answer(told)) this.#end(told.message);
        break;
      case "entry":
        this.#waiting.push(told.entry as Entry);
        this.#timer ??= setTimeout(() => {
          this.#show();
        }, REST_MS);
        break;
      case "said":
        this.said = [...this.said.slice(-9), told.message];
        break;
      case "ended":
        this.#show();
        this.known = { ...this.known, ended: { status: told.status, error: told.message ?? null } };
        this.#end(told.status === "failed" ? (told.message ?? "The run failed.") : null);
        break;
    }
  }

  /** Takes in what came since it was shown last. */
  #show(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.known = this.#waiting.reduce(apply, this.known);
    this.#waiting = [];
  }

  #end(failure: string | null): void {
    [this.work, this.failure] = ["idle", failure];
    this.ends += 1;
    this.#unlock?.();
    this.#unlock = null;
    this.#awake?.look();
  }

  #unable(message: string): void {
    [this.state, this.message] = ["unable", message];
  }

  /** The worker is no more. A run that it was at can be taken on by a new one. */
  #broke(why: string): void {
    this.#worker?.terminate();
    this.#worker = null;
    this.#answer({ kind: "refused", message: `The worker ended: ${why}` });
    if (this.work === "idle") {
      this.#unable(`The worker that trains cannot be started: ${why}`);
      return;
    }
    this.#show();
    this.#end(`The worker that trains ended: ${why}`);
    this.state = "closed";
    void this.open();
  }
}

/** Why what was asked for is not there. */
const unanswered = (told: Told) => new Error(told.kind === "refused" ? told.message : "The worker ended.");

/** What is known of a run of the disk by its log. */
export async function known(run: string): Promise<Known> {
  const log = await file(await root(), `${RUNS}/${run}/${EVENTS}`);
  return log ? entries(await log.text()).reduce(apply, NOTHING) : NOTHING;
}

/** The configuration of a run of the disk; null where there is no such run. */
export async function configOfRun(run: string): Promise<string | null> {
  return (await (await file(await root(), `${RUNS}/${run}/${CONFIG}`))?.text()) ?? null;
}

export const trainer = new Trainer();
