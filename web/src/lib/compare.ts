import type { CompareRow, Metrics, RunDetail } from "../api/types";
import type { Line, SeriesName } from "./series";

/** Whether all rows had the same number of student epochs, to a hundredth. */
export function equalEpochs(rows: CompareRow[]): { equal: boolean; least: number; most: number } {
  const epochs = rows.flatMap(({ epochs }) => epochs ?? []);
  const [least, most] = [Math.min(...epochs), Math.max(...epochs)];
  return { equal: most - least < 0.005, least, most };
}

/** Rows of one configuration, in the order of the answer. */
export function byLabel(rows: CompareRow[]): { label: string | null; rows: CompareRow[] }[] {
  const groups = new Map<string | null, CompareRow[]>();
  for (const row of rows) {
    const label = row.label ?? null;
    groups.set(label, [...(groups.get(label) ?? []), row]);
  }
  return [...groups].map(([label, rows]) => ({ label, rows }));
}

export interface RunCurve {
  run: string;
  member: string;
  method: string;
  line: Line;
}

/** The curves of one series of several runs, by the methods that `details` has of their members; `teacher` is a method here. */
export function curvesOf(
  answers: { run: string; metrics: Metrics }[],
  details: Map<string, Pick<RunDetail, "members">>,
  name: SeriesName,
): RunCurve[] {
  return answers.flatMap(({ run, metrics }) =>
    metrics.members.flatMap(({ member, series }) => {
      const found = series.find((series) => series.name === name);
      const known = details.get(run)?.members.find((state) => state.member === member);
      return found && known && found.x.length > 0
        ? [{ run, member, method: known.method ?? "teacher", line: { x: found.x, y: found.y } }]
        : [];
    }),
  );
}
