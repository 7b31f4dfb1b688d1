// node benches/load.mjs TAPER: a server with many runs, a long curve and many open tabs, and how long it takes to answer.
//
// Prints a JSON line for each kind of answer. Everything goes through the server's own addresses, but for the long log: that is written
// into the directory of a run before it is started, and its process and the server then take it for an earlier one's.
import { spawn } from "node:child_process";
import { cp, mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

const RUNS = 200;
const POINTS = 1_000_000;
const TABS = 20;
/** Requests of a kind, one after the other; and how often all tabs ask at once. */
const ASKED = 60;
const BURSTS = 10;

/** A run of a second. */
const SMALL = {
  preset: "demo",
  set: { methods: ["vanilla"], seeds: [0], "data.train_count": 256, "data.test_count": 64, "vanilla.epochs": 2 },
};
/** One that trains for as long as anybody looks. */
const LONG = { preset: "demo", set: { methods: ["vanilla"], seeds: [0], "vanilla.epochs": 100_000 } };

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Server {
  static async start(program) {
    const server = new Server();
    server.folder = await mkdtemp(path.join(tmpdir(), "taper-load-"));
    const serve = ["serve", "--bind", "127.0.0.1:0", "--data-dir", server.folder];
    server.child = spawn(program, serve, { stdio: ["ignore", "pipe", "ignore"] });
    server.origin = await new Promise((resolve, reject) => {
      let said = "";
      server.child.once("exit", (code) => reject(new Error(`taper serve ended with ${code}: ${said}`)));
      server.child.stdout.on("data", (text) => {
        const address = /http:\/\/[^\s/]+/.exec((said += text));
        if (address) resolve(address[0]);
      });
    });
    return server;
  }

  async get(address) {
    const answer = await fetch(this.origin + address);
    if (!answer.ok) throw new Error(`${address}: ${answer.status} ${await answer.text()}`);
    return answer.text();
  }

  async post(address, body = {}) {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(this.origin + address, init);
    if (!answer.ok) throw new Error(`${address}: ${answer.status} ${await answer.text()}`);
    return answer.status === 204 ? null : answer.json();
  }

  async runs() {
    return JSON.parse(await this.get("/api/runs")).runs;
  }

  /** Waits until no run is in any of these states. */
  async until(gone) {
    for (;;) {
      const left = (await this.runs()).filter(({ state }) => gone.includes(state)).length;
      if (left === 0) return;
      process.stderr.write(`\r${left} runs left  `);
      await pause(1000);
    }
  }

  directory(id) {
    return path.join(this.folder, "runs", id);
  }

  async end() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    await ended;
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Makes a trained run look as if it had taken `POINTS` steps, and has the server take it in. */
async function lengthen(server, trained, draft) {
  const lines = (await readFile(path.join(server.directory(trained), "events.jsonl"), "utf8")).trim().split("\n");
  const entries = lines.map((line) => JSON.parse(line));
  const [at, last] = [entries.findIndex(({ type }) => type === "step"), entries.find(({ type }) => type === "member_finished")];
  const log = await open(path.join(server.directory(draft), "events.jsonl"), "w");
  let seq = 0;
  const line = (entry) => JSON.stringify({ ...entry, seq: seq++ }) + "\n";
  await log.write(entries.slice(0, at).map(line).join(""));
  for (let step = 1; step <= POINTS; ) {
    let part = "";
    for (const end = Math.min(step + 10_000, POINTS + 1); step < end; step += 1) {
      const loss = 2 / Math.sqrt(step) + 0.1 * Math.abs(Math.sin(step * 12.9898));
      part += line({ ...entries[at], step, stage_step: step, loss });
    }
    await log.write(part);
  }
  await log.write(line({ ...last, step: POINTS }));
  await log.close();
  await cp(path.join(server.directory(trained), "members"), path.join(server.directory(draft), "members"), { recursive: true });
}

/** A tab: a stream that stays open and is read. Browsers share connections between tabs; these are twenty people. */
async function tab(server, watched, heard) {
  const stop = new AbortController();
  const answer = await fetch(`${server.origin}/api/events?runs=${watched}`, { signal: stop.signal });
  const reader = answer.body.getReader();
  const read = async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) heard.bytes += part.value.length;
  };
  read().catch(() => undefined);
  return stop;
}

const median = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
const share = (times, part) => times.sort((a, b) => a - b)[Math.floor(times.length * part)];

async function timed(ask) {
  const begun = performance.now();
  await ask();
  return performance.now() - begun;
}

/** Prints how long an answer takes: to one who asks, and to all tabs that ask at once. */
async function measure(server, what, address, training) {
  const ask = () => server.get(address);
  await ask();
  const alone = [];
  for (let n = 0; n < ASKED; n += 1) alone.push(await timed(ask));
  const together = [];
  for (let n = 0; n < BURSTS; n += 1) {
    together.push(...(await Promise.all(Array.from({ length: TABS }, () => timed(ask)))));
  }
  const ms = (time) => Number(time.toFixed(1));
  console.log(
    JSON.stringify({
      what,
      training,
      bytes: (await ask()).length,
      median_ms: ms(median(alone)),
      p95_ms: ms(share(alone, 0.95)),
      together_median_ms: ms(median(together)),
      together_p95_ms: ms(share(together, 0.95)),
    }),
  );
}

const server = await Server.start(path.resolve(process.argv[2] ?? "target/release/taper"));
try {
  for (let n = 1; n < RUNS; n += 1) {
    await server.post("/api/runs", { ...SMALL, name: `small ${n}` });
    process.stderr.write(`\r${n} runs made  `);
  }
  await server.until(["queued", "running"]);
  const trained = (await server.runs()).find(({ state }) => state === "done");
  if (!trained) throw new Error("no run was trained");
  const { id: long } = await server.post("/api/runs", { ...SMALL, name: "long", start: false });
  await lengthen(server, trained.id, long);
  const taking = await timed(async () => {
    await server.post(`/api/runs/${long}/start`);
    await server.until(["queued", "running"]);
  });
  const ends = JSON.parse(await server.get(`/api/runs/${long}/metrics?series=loss&points=2`)).members[0].series[0].x;
  if (ends.at(-1) !== POINTS) throw new Error(`not all points are there: ${ends}`);
  process.stderr.write(`\r${POINTS} steps taken in within ${(taking / 1000).toFixed(1)} s\n`);

  const heard = { bytes: 0 };
  for (const training of [false, true]) {
    let live = long;
    if (training) {
      ({ id: live } = await server.post("/api/runs", { ...LONG, name: "live" }));
      while ((await server.runs()).find(({ id }) => id === live).done_steps === 0) await pause(500);
    }
    const tabs = await Promise.all(Array.from({ length: TABS }, () => tab(server, live, heard)));
    const curves = (points) => `/api/runs/${long}/metrics?series=loss&points=${points}`;
    await measure(server, "list of runs", "/api/runs", training);
    await measure(server, "a run", `/api/runs/${long}`, training);
    await measure(server, "chart, the whole curve", curves(1000), training);
    await measure(server, "chart, zoomed", `${curves(1000)}&from=400000&to=410000`, training);
    await measure(server, "all charts of a run", `/api/runs/${long}/metrics?points=1000`, training);
    tabs.forEach((stop) => stop.abort());
    if (training) await server.post(`/api/runs/${live}/cancel`);
  }
  if (heard.bytes === 0) throw new Error("no tab heard anything");
} finally {
  await server.end();
}
