import type { components } from "../generated/api";

type Schemas = components["schemas"];

/** `plan.json`, as the engine says it. */
export type PortablePlan = Schemas["PortablePlan"];
export type Dispatch = Schemas["Dispatch"];
/** How the axes of a tensor in the weights' file are put in order. */
export type Order = Schemas["Order"];

/** The form that this page can run. */
const VERSION = 1;

/** A plan from JSON; what it refers to is checked where it is used. */
export function parsePlan(json: unknown): PortablePlan {
  const plan = json as Partial<PortablePlan> | null;
  if (typeof plan !== "object" || plan === null || typeof plan.version !== "number" || !plan.plan)
    throw new Error("plan.json is damaged or of another format");
  if (plan.version !== VERSION)
    throw new Error(`plan.json has version ${plan.version}, this page runs version ${VERSION}`);
  if (plan.plan.buffers.some((buffer) => buffer.texture))
    throw new Error("plan.json was compiled for a software adapter, not for a browser");
  return plan as PortablePlan;
}

/** The entry at an index. Plans refer to entries by index, so it must exist. */
export function at<T>(list: readonly T[], index: number, what: string): T {
  const found = list[index];
  if (found === undefined) throw new Error(`plan.json speaks of ${what} ${index}, which it does not have`);
  return found;
}
