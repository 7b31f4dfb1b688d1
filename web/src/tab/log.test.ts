import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import type { Entry } from "../api/types";
import { entries } from "./disk";
import { apply, NOTHING, share } from "./log";

/** Logs of runs that the program wrote. */
const logOf = (run: string) =>
  entries(readFileSync(new URL(`../../../tests/earlier/${run}/events.jsonl`, import.meta.url), "utf8"));

test("a finished run has every stage done, its curves and its merge", () => {
  const log = logOf("finished");
  const known = log.reduce(apply, NOTHING);
  expect(known.ended?.status).toBe("done");
  expect(known.stages.every(({ state, done, steps }) => state === "done" && done === steps)).toBe(true);
  expect(share(known.stages)).toBe(1);
  expect(known.members.map(({ member, finished }) => [member, finished])).toEqual([
    ["teacher-0", true],
    ["kd-0", true],
    ["win-0", true],
  ]);
  const win = known.members.find(({ member }) => member === "win-0");
  expect(win?.method).toBe("win");
  expect(win?.merge?.relative_error).toBeLessThan(1e-5);
  const steps = log.filter((entry) => entry.type === "step" && entry.member === "win-0");
  expect(known.lines["win-0"]?.loss?.x.length).toBe(steps.length);
  expect(known.blocks.every(({ member, discrepancy }) => member === "win-0" && discrepancy != null)).toBe(
    true,
  );
});

test("a run that was stopped half way says where it stands", () => {
  const known = logOf("half-way").reduce(apply, NOTHING);
  expect(known.ended?.status).toBe("stopped");
  const running = known.stages.filter(({ state }) => state === "running");
  expect(running.map(({ member, stage }) => `${member} ${stage}`)).toContain("win-0 narrow 1");
  expect(known.stages.find(({ member }) => member === "teacher-0")?.state).toBe("done");
  expect(share(known.stages)).toBeGreaterThan(0);
  expect(share(known.stages)).toBeLessThan(1);
});

test("what a resume takes back did not happen", () => {
  const log = logOf("finished");
  const end = log.findIndex((entry) => entry.type === "member_finished" && entry.member === "win-0");
  const before = log.slice(0, end).reduce(apply, NOTHING);
  const resumed = { seq: 99, time: 0, type: "resumed", member: "win-0", step: 1 } as Entry;
  const after = apply(before, resumed);
  expect(after.lines["win-0"]?.loss?.x.every((x) => x <= 1)).toBe(true);
  expect(after.lines["kd-0"]).toEqual(before.lines["kd-0"]);
  expect(after.stages.find(({ member, stage }) => member === "win-0" && stage === "tune")?.state).toBe(
    "waiting",
  );
});
