/** From scores of places to answers, `engine/train/src/data/text/answers.rs` in the browser. */
import type { Window } from "./windows";

/** How answers are chosen. */
export interface Choosing {
  /** The best places that are tried for a start and for an end, and the candidates that are kept. */
  nBest: number;
  /** The most pieces of an answer. */
  longest: number;
  /** Whether there may be no answer. */
  unanswerable: boolean;
  /** No answer is given where its score is above the best answer's by more than this. */
  nullThreshold: number;
}

/** A window with the scores of its places as a start and as an end. */
export interface Scored {
  window: Window;
  starts: Float32Array;
  ends: Float32Array;
}

/** A possible answer. */
export interface Candidate {
  /** Its words; empty for no answer. */
  text: string;
  /** The first code point in the context, and the one behind the last. */
  from: number;
  until: number;
  /** The scores of its first and of its last piece. */
  scores: [start: number, end: number];
  /** Among the candidates that are kept. */
  probability: number;
}

/** The answer to a question. */
export interface Answered {
  /** Null for no answer. */
  best: Candidate | null;
  /** The likeliest first; none where there are no words among them. */
  candidates: Candidate[];
  /** Score of no answer less that of the best answer, where there may be none. */
  nullOdds: number | null;
}

/** The answer by all windows of a question. Scores are numbers of 32 bits, and so are their sums, as ties go by them. */
export function answer(context: string, scored: readonly Scored[], how: Choosing): Answered {
  const points = Array.from(context);
  const found: Candidate[] = [];
  const candidate = (from: number, until: number, start = NaN, end = NaN): Candidate => ({
    text: points.slice(from, until).join(""),
    from,
    until,
    scores: [start, end],
    probability: 0,
  });
  // No answer is as likely as in the window that thinks least of it.
  let none: Candidate | null = null;
  for (const { window, starts, ends } of scored) {
    const nothing = candidate(0, 0, starts[0], ends[0]);
    if (none === null || sum(none) > sum(nothing)) none = nothing;
    const last = best(ends, how.nBest);
    for (const start of best(starts, how.nBest))
      for (const end of last) {
        const [from] = window.offsets[start - window.context] ?? [];
        const [, until] = window.offsets[end - window.context] ?? [];
        if (from === undefined || until === undefined) continue;
        if (end >= start && end - start < how.longest)
          found.push(candidate(from, until, starts[start], ends[end]));
      }
  }
  if (!how.unanswerable) none = null;
  if (none) found.push(none);
  found.sort((a, b) => sum(b) - sum(a));
  const kept = found.slice(0, how.nBest);
  if (none && !kept.includes(none)) kept.push(none);
  weigh(kept);
  const first = kept.find(({ text }) => text !== "") ?? null;
  const nullOdds =
    none && first ? first.scores.reduce((odds, score) => Math.fround(odds - score), sum(none)) : null;
  const refused = nullOdds !== null && nullOdds > how.nullThreshold;
  return { best: refused ? null : first, candidates: first ? kept : [], nullOdds };
}

const sum = ({ scores: [start, end] }: Candidate) => Math.fround(start + end);

/** The `count` best places, the best first; of two that are as good, the later one. */
function best(scores: Float32Array, count: number): number[] {
  const places = Array.from(scores.keys()).reverse();
  return places.sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0)).slice(0, count);
}

/** Probabilities of candidates by their scores. */
function weigh(candidates: Candidate[]): void {
  const most = candidates.reduce((most, candidate) => Math.max(most, sum(candidate)), -Infinity);
  const powers = candidates.map((candidate) => Math.exp(sum(candidate) - most));
  const total = powers.reduce((total, power) => total + power, 0);
  for (const [k, candidate] of candidates.entries()) candidate.probability = (powers[k] ?? 0) / total;
}
