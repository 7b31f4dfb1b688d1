import type { Entry } from "../api/types";
import { duration, grouped, measure, percent } from "./format";

/** A line of the log as a sentence. */
export function says(entry: Entry): { text: string; tone: "plain" | "quiet" | "good" | "warn" | "bad" } {
  switch (entry.type) {
    case "run_started":
      return {
        text: `Taper ${entry.version} runs on ${entry.adapter} (${entry.adapter_kind}).`,
        tone: "plain",
      };
    case "member_started":
      return { text: `${entry.member} begins.`, tone: "plain" };
    case "stage_started": {
      const resumed = entry.done > 0 ? `, ${grouped(entry.done)} of them taken already` : "";
      const which = entry.restart > 1 ? `, restart ${entry.restart}` : "";
      return {
        text: `${entry.member}: ${entry.stage}${which}, ${grouped(entry.steps)} steps${resumed}.`,
        tone: "plain",
      };
    }
    case "step":
      return {
        text: `${entry.member} step ${entry.step}: loss ${measure(entry.loss)}.`,
        tone: entry.loss === null || entry.loss === undefined ? "bad" : "quiet",
      };
    case "epoch":
      return {
        text: `${entry.member} epoch ${measure(entry.epoch)} of ${entry.stage}: ${percent(entry.accuracy)}, loss ${measure(entry.loss)}.`,
        tone: "quiet",
      };
    case "block_started":
      return {
        text: `${entry.member}: block ${entry.block} has its start${entry.fresh > 0 ? `, ${entry.fresh} units drawn afresh` : ""}.`,
        tone: "plain",
      };
    case "block_narrowed":
      return {
        text: `${entry.member}: block ${entry.block} imitates its teacher to ${measure(entry.discrepancy)}; ${percent(entry.accuracy)} in its place.`,
        tone: "plain",
      };
    case "checkpoint":
      return { text: `${entry.member}: checkpoint at step ${grouped(entry.step)}.`, tone: "quiet" };
    case "merge":
      return {
        text: `${entry.member}: merged, relative error ${measure(entry.relative_error)} on ${grouped(entry.inputs)} inputs.`,
        tone: "good",
      };
    case "member_finished":
      return { text: `${entry.member} is done: ${percent(entry.accuracy)} on the test data.`, tone: "good" };
    case "resumed":
      return {
        text: `Goes on${entry.member ? `, ${entry.member}` : ""} from step ${grouped(entry.step)}.`,
        tone: "plain",
      };
    case "warning":
      return { text: entry.message, tone: "warn" };
    case "log":
      return { text: entry.message, tone: "plain" };
    case "run_finished":
      return {
        text: `The process ended after ${duration(entry.seconds)}: ${entry.status}${entry.error ? `, ${entry.error}` : ""}.`,
        tone: entry.error ? "bad" : "good",
      };
    default:
      return { text: (entry as { type: string }).type, tone: "quiet" };
  }
}
