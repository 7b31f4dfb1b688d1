import type { Review, Versus } from "../api/types";
import type { Image } from "../plan/image";

/** What the page asks of the worker that trains. */
export type Ask =
  | { kind: "look"; toml: string } // settle and outline a configuration: answers "looked" or "refused"
  | { kind: "start"; run: string; toml: string } // a new run in /runs/RUN
  | { kind: "resume"; run: string } // goes on with /runs/RUN
  | { kind: "plan"; model: string } // plan.json of a model's folder, such as /runs/RUN/artifacts: answers "planned" or "refused"
  | { kind: "review"; of: string } // the answers of a member or teacher, by the path of its folder: answers "reviewed" or "refused"
  | { kind: "versus"; first: string; second: string } // two of them picture by picture: answers "versus" or "refused"
  | { kind: "pictures"; run: string; places: number[] } // test pictures of /runs/RUN: answers "pictures" or "refused"
  | { kind: "checkpoint" } // soon: the page is being hidden
  | { kind: "stop" }; // ends at a checkpoint
/** What the worker tells the page. */
export type Told =
  | { kind: "ready"; adapter: string; presets: { name: string; toml: string }[] }
  | { kind: "unable"; message: string } // no WebGPU, no JSPI, self-test failed: one sentence that names versions
  | { kind: "looked"; toml: string; outline: unknown } // outline: networks, stages with steps and needs in bytes, warnings
  | { kind: "planned"; model: string; plan: unknown }
  | { kind: "reviewed"; review: Review | null } // null: it has no answers to pictures
  | { kind: "versus"; versus: Versus }
  | {
      kind: "pictures";
      pictures: (Omit<Image, "pixels"> & { index: number; label: number; name: string; pixels: number[] })[];
    }
  | { kind: "refused"; message: string }
  | { kind: "entry"; entry: unknown } // an entry of events.jsonl (types are in src/generated/)
  | { kind: "said"; message: string } // what is not in the log: lost and reopened device, throttled
  | { kind: "ended"; status: "done" | "stopped" | "failed"; message?: string };
