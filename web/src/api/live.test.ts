import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { RunSummary } from "./types";

/** The browser's `EventSource` as far as the page uses it, with its wires in our hands. */
class FakeSource extends EventTarget {
  static readonly CLOSED = 2;
  static all: FakeSource[] = [];
  readyState = 1;
  closed = false;
  onerror: (() => void) | null = null;
  constructor(readonly url: string) {
    super();
    FakeSource.all.push(this);
  }
  close(): void {
    this.closed = true;
    this.readyState = 2;
  }
  send(type: string, id: number, data: unknown): void {
    this.dispatchEvent(
      Object.assign(new Event(type), { data: JSON.stringify(data), lastEventId: String(id) }),
    );
  }
  fail(readyState: number): void {
    this.readyState = readyState;
    this.onerror?.();
  }
}
const last = () => FakeSource.all.at(-1) as FakeSource;
const settle = () => vi.advanceTimersByTimeAsync(0);
const run = (id: string, state: RunSummary["state"]) => ({ id, state }) as RunSummary;

let answers: Record<string, unknown>;
let asked: string[];

beforeEach(() => {
  FakeSource.all = [];
  asked = [];
  answers = {
    "/api/runs": { runs: [run("a", "queued")], queue: ["a"] },
    "/api/session": { required: false, ok: true },
  };
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", FakeSource);
  vi.stubGlobal("fetch", (path: string) => {
    asked.push(path);
    return Promise.resolve(new Response(JSON.stringify(answers[path])));
  });
  vi.resetModules();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("the stream", () => {
  it("is one, whatever is watched, and goes on where it was", async () => {
    const { live } = await import("./live.svelte");
    live.start();
    await settle();
    expect(FakeSource.all.map(({ url }) => url)).toEqual(["/api/events?"]);
    last().send("hello", 40, { last: 40 });
    last().send("run", 41, run("a", "running"));
    expect([live.connection, live.world.runs.get("a")?.state]).toEqual(["live", "running"]);

    const heard: unknown[] = [];
    const stops = [live.watch("a", (entry) => heard.push(entry)), live.watch("b", () => undefined)];
    await settle();
    expect(FakeSource.all.map(({ closed }) => closed)).toEqual([true, false]);
    expect(last().url).toBe("/api/events?runs=a%2Cb&last_event_id=41");
    last().send("entry", 42, { run: "a", entry: { seq: 1 } });
    last().send("entry", 43, { run: "c", entry: { seq: 1 } });
    expect(heard).toEqual([{ seq: 1 }]);

    stops.forEach((stop) => stop());
    await settle();
    expect(last().url).toBe("/api/events?last_event_id=43");
    expect(FakeSource.all.filter(({ closed }) => !closed)).toHaveLength(1);
  });

  it("leaves a cut to the browser, and tries itself where the browser gives up", async () => {
    const { live } = await import("./live.svelte");
    live.start();
    last().send("hello", 5, { last: 5 });
    last().fail(0);
    expect(live.connection).toBe("reconnecting");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSource.all).toHaveLength(1);

    last().fail(2);
    await vi.advanceTimersByTimeAsync(999);
    expect(FakeSource.all).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    // What it newly greets with was not replayed yet.
    last().send("hello", 9, { last: 9 });
    expect(last().url).toBe("/api/events?last_event_id=5");
    for (const wait of [1000, 2000, 4000, 8000, 15_000, 15_000]) {
      const tries = FakeSource.all.length;
      last().fail(2);
      await vi.advanceTimersByTimeAsync(wait - 1);
      expect(FakeSource.all).toHaveLength(tries);
      await vi.advanceTimersByTimeAsync(1);
      expect(FakeSource.all).toHaveLength(tries + 1);
      expect(last().url).toBe("/api/events?last_event_id=5");
    }
    last().send("hello", 9, { last: 9 });
    expect(live.connection).toBe("live");
  });

  it("is given back by a tab that nobody sees, and catches up", async () => {
    const { live } = await import("./live.svelte");
    live.start();
    last().send("hello", 5, { last: 5 });
    live.seen(false);
    expect(last().closed).toBe(true);
    live.watch("a", () => undefined);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSource.all).toHaveLength(1);
    live.seen(true);
    live.seen(true);
    expect(FakeSource.all).toHaveLength(2);
    expect(last().url).toBe("/api/events?runs=a&last_event_id=5");
    live.stop();
    live.seen(true);
    expect(FakeSource.all).toHaveLength(2);
  });

  it("begins in a tab that is opened behind others once that is seen", async () => {
    const { live } = await import("./live.svelte");
    live.start(false);
    await settle();
    expect([FakeSource.all.length, live.world.runs.size]).toEqual([0, 1]);
    live.seen(true);
    expect(last().url).toBe("/api/events?");
  });

  it("asks for the token where that is why it was refused", async () => {
    const { whenUnauthorised } = await import("./client");
    const { live } = await import("./live.svelte");
    const wanted = vi.fn();
    whenUnauthorised(wanted);
    live.start();
    answers["/api/session"] = { required: true, ok: false };
    last().fail(2);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(wanted).toHaveBeenCalledOnce();
    expect(FakeSource.all).toHaveLength(1);
  });

  it("fetches anew after a reset, and where the server is behind us", async () => {
    const { live } = await import("./live.svelte");
    const reset = vi.fn();
    live.onReset(reset);
    live.start();
    await settle();
    last().send("hello", 900, { last: 900 });
    const before = asked.length;
    last().send("reset", 950, null);
    await settle();
    expect([reset.mock.calls.length, asked.length - before]).toEqual([1, 1]);
    // Another data directory: its numbers start anew, and ours would ask for the future.
    last().send("hello", 3, { last: 3 });
    await settle();
    expect(reset.mock.calls.length).toBe(2);
    live.watch("a", () => undefined);
    await settle();
    expect(last().url).toContain("last_event_id=3");
  });
});
