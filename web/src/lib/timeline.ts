import type { MemberState, StageState } from "../api/types";

/** The stages of one member, in their order. */
export interface Lane {
  member: string;
  stages: StageState[];
  /** Seconds left of the stages that run or wait; null where the server cannot tell yet. */
  eta: number | null;
  state: StageState["state"];
}

/** Stages by member, in the order of the run. */
export function lanes(stages: StageState[]): Lane[] {
  const by = new Map<string, StageState[]>();
  for (const stage of stages) by.set(stage.member, [...(by.get(stage.member) ?? []), stage]);
  return [...by].map(([member, stages]) => {
    const open = stages.filter(({ state }) => state !== "done");
    const known = open.flatMap(({ eta_seconds }) => eta_seconds ?? []);
    return {
      member,
      stages,
      eta: open.length > 0 && known.length > 0 ? known.reduce((sum, eta) => sum + eta, 0) : null,
      state: stages.some(({ state }) => state === "running")
        ? "running"
        : open.length === 0
          ? "done"
          : open.length === stages.length
            ? "waiting"
            : "running",
    };
  });
}

/** Steps of a stage for its width in a picture; merges take none but are there. */
export function weight(stage: StageState, total: number): number {
  return Math.max(stage.steps, total * 0.02, 1);
}

/** The member that a view opens with: the one that trains, else the best by accuracy among `win`, else the last. */
export function focus(
  stages: StageState[],
  members: MemberState[],
  running?: string | null,
  best?: string | null,
): string | undefined {
  const running_ = stages.find(({ state }) => state === "running")?.member;
  if (running && members.some(({ member }) => member === running)) return running;
  return running_ ?? best ?? members.at(-1)?.member;
}

/** The teacher that a member of this seed uses. */
export function teacherOf(member: string, members: MemberState[]): string | undefined {
  const seed = members.find((other) => other.member === member)?.seed;
  return members.find((other) => !other.method && other.seed === seed)?.member;
}
