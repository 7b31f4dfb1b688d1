import type { MemberState } from "../api/types";
import { spreadOf } from "./statistics";

/** What a method came to over its seeds. */
export interface Standing {
  /** `teacher` for the teachers. */
  method: string;
  /** Percent on the test data, in the mean. */
  mean: number;
  /** Sample deviation; null for one seed. */
  deviation: number | null;
  seeds: number;
}

/** What the members that are trained come to, a method each: students first, the best before the others, then the teacher. */
export function standings(members: MemberState[]): Standing[] {
  const values = new Map<string, number[]>();
  for (const { method, finished, accuracy } of members) {
    if (!finished || accuracy === null || accuracy === undefined || !Number.isFinite(accuracy)) continue;
    const name = method ?? "teacher";
    values.set(name, [...(values.get(name) ?? []), accuracy]);
  }
  const of = [...values].map(([method, found]) => ({ method, ...spreadOf(found), seeds: found.length }));
  const last = (standing: Standing) => Number(standing.method === "teacher");
  return of.sort((a, b) => last(a) - last(b) || b.mean - a.mean);
}
