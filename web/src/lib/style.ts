/** How a member's curves are drawn everywhere: a colour and a dash a method, fainter for further seeds of one. */
export interface Style {
  /** A colour of the style sheet. */
  colour: string;
  /** Lengths of strokes and gaps in pixels; none: a whole line. */
  dash: number[];
}

const DASHES: Record<string, number[]> = {
  win: [],
  start_only: [9, 3],
  embeddings_only: [9, 3, 2, 3],
  kd: [5, 3],
  fitnets: [5, 2, 1, 2],
  vanilla: [2, 3],
  teacher: [14, 4],
};

/** The method of a member by its name, as `win-0`, `teacher-0`; the name itself where it is none. */
export function methodOf(member: string): string {
  return member.replace(/-\d+$/, "");
}

/** The style of a method, and of one that this page does not know yet. */
export function styleOf(method: string): Style {
  const dash = DASHES[method];
  return dash ? { colour: `--c-${method}`, dash } : { colour: "--soft", dash: [] };
}
