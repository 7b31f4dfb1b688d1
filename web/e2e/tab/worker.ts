/// <reference lib="webworker" />
/** Stands in for the worker that trains, for the page's own test: it tells the log of a run that the program trained, line by line. */
import config from "../../../tests/earlier/finished/config.toml?raw";
import log from "../../../tests/earlier/finished/events.jsonl?raw";
import type { Review } from "../../src/api/types";
import type { Ask, Told } from "../../src/train/protocol";

const tell = (told: Told) => {
  postMessage(told);
};
const lines = log.trimEnd().split("\n");
const half = Math.floor(lines.length / 2);
let stopping = false;

/** Of three pictures one is taken for another, with much confidence. */
const one = (name: string, count: number, right: number) => ({
  name,
  count,
  said: right,
  right,
  accuracy: (100 * right) / count,
});
const REVIEW: Review = {
  count: 3,
  accuracy: 200 / 3,
  ece: 21.5,
  bins: Array.from({ length: 15 }, (_, k) => ({
    count: k === 13 ? 3 : 0,
    accuracy: k === 13 ? 200 / 3 : 0,
    confidence: k === 13 ? 88.2 : 0,
  })),
  classes: [one("cats", 2, 1), one("dogs", 1, 1)],
  confusion: [
    [0, 0, 1],
    [0, 1, 1],
    [1, 1, 1],
  ],
  mistakes: [{ index: 1, label: 0, said: 1, confidence: 0.882 }],
};

async function write(run: string, name: string, text: string): Promise<void> {
  let folder = await navigator.storage.getDirectory();
  for (const part of ["runs", run]) folder = await folder.getDirectoryHandle(part, { create: true });
  const stream = await (await folder.getFileHandle(name, { create: true })).createWritable();
  await stream.write(text);
  await stream.close();
}

async function train(run: string, from: number): Promise<void> {
  stopping = false;
  for (let at = from; at < lines.length; at += 1) {
    tell({ kind: "entry", entry: JSON.parse(lines[at] as string) });
    await write(run, "events.jsonl", `${lines.slice(0, at + 1).join("\n")}\n`);
    // It waits in the middle to be stopped, as long as it takes.
    while (from === 0 && at === half && !stopping) await new Promise((done) => setTimeout(done, 20));
    if (stopping) {
      tell({ kind: "ended", status: "stopped" });
      return;
    }
  }
  tell({ kind: "ended", status: "done" });
}

addEventListener("message", ({ data }: MessageEvent<Ask>) => {
  switch (data.kind) {
    case "look":
      if (data.toml.includes("memory_budget"))
        tell({ kind: "refused", message: "`wide` needs 9 GiB; this browser gives 2 GiB." });
      else
        tell({
          kind: "looked",
          toml: data.toml,
          outline: {
            stages: [{ member: "win-0", method: "win", stage: "wide", steps: 7 }],
            needs: [{ method: "win", stage: "wide", memory: 4096, micro_batches: 1, problem: null }],
            warnings: ["A warning."],
          },
        });
      break;
    case "start":
      void write(data.run, "config.toml", data.toml).then(() => train(data.run, 0));
      break;
    case "resume":
      void train(data.run, half + 1);
      break;
    case "review":
      tell({ kind: "reviewed", review: data.of.includes("teachers") ? null : REVIEW });
      break;
    case "versus":
      tell({
        kind: "versus",
        versus: { count: 3, both_right: 1, both_wrong: 0, only_first: [1], only_second: [2], p: 1 },
      });
      break;
    case "pictures":
      tell({
        kind: "pictures",
        pictures: data.places.map((index) => ({
          index,
          label: 0,
          name: "cats",
          height: 1,
          width: 2,
          channels: 1,
          pixels: [0, 255],
        })),
      });
      break;
    case "plan":
      tell({ kind: "refused", message: `There is no plan of ${data.model} here.` });
      break;
    case "stop":
      stopping = true;
      break;
    case "checkpoint":
      tell({ kind: "said", message: "A checkpoint was asked for." });
      break;
  }
});
tell({
  kind: "ready",
  adapter: "A stand-in",
  presets: [{ name: "demo", toml: `# A run that was trained.\n${config}` }],
});
