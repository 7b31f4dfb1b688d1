import type {
  Adapter,
  Artifacts,
  Comparison,
  Config,
  Dataset,
  Entry,
  ErrorBody,
  Form,
  Json,
  Metrics,
  NewRun,
  Preflight,
  Preset,
  Preview,
  RunDetail,
  RunSummary,
  Review,
  SelfTest,
  SentTeacher,
  Session,
  ShownPicture,
  Usage,
  Suggestion,
  Versus,
} from "./types";
import { NO_TEACHER, NOT_SENDABLE, packed } from "../lib/upload";

/** What the server says is wrong: one sentence, what can be done, and the key of the configuration that it is about. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly body: ErrorBody,
  ) {
    super(body.message);
    this.name = "ApiError";
  }
}

/** Whether the error is only that somebody took back the request. */
export function isAborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** Any error as the sentence to show, with its hint. */
export function sentence(error: unknown): { message: string; hint?: string | null } {
  if (error instanceof ApiError) return { message: error.message, hint: error.body.hint ?? null };
  if (error instanceof TypeError)
    return { message: "The server does not answer.", hint: "Is `taper serve` still running?" };
  return { message: error instanceof Error ? error.message : String(error) };
}

/** Called when the server wants a token; set by the shell. */
let onUnauthorised: () => void = () => undefined;
export function whenUnauthorised(callback: () => void): void {
  onUnauthorised = callback;
}
export function unauthorised(): void {
  onUnauthorised();
}

/** The error of a response, also of a proxy that answered without our JSON. */
export function errorOf(status: number, text: string): ApiError {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null && "message" in body && typeof body.message === "string") {
      return new ApiError(status, { code: String(status), ...body } as ErrorBody);
    }
  } catch {
    // Not ours; said below.
  }
  return new ApiError(status, {
    code: String(status),
    message: `The server answered with status ${status}.`,
  });
}

async function request(
  method: string,
  path: string,
  body?: unknown,
  signal?: AbortSignal,
  keepalive = false,
): Promise<Response> {
  const init: RequestInit = { method, keepalive, headers: { accept: "application/json" } };
  if (body !== undefined) {
    init.headers = { ...init.headers, "content-type": "application/json" };
    init.body = JSON.stringify(body);
  }
  if (signal) init.signal = signal;
  const response = await fetch(path, init);
  if (response.ok) return response;
  if (response.status === 401) unauthorised();
  throw errorOf(response.status, await response.text());
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await request("GET", path, undefined, signal)).json()) as T;
}

async function post<T>(path: string, body: unknown = {}, signal?: AbortSignal): Promise<T> {
  return (await (await request("POST", path, body, signal)).json()) as T;
}

/** A query string of what is there. */
export function search(values: Record<string, string | number | undefined | null>): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined && value !== null && value !== "") query.set(key, String(value));
  }
  const text = query.toString();
  return text && `?${text}`;
}

const run = (id: string) => `/api/runs/${encodeURIComponent(id)}`;

export type Verb = "start" | "pause" | "resume" | "stop" | "cancel";

export interface MetricsQuery {
  member?: string | undefined;
  series?: string[];
  from?: number | undefined;
  to?: number | undefined;
  points?: number;
}

/** The routes, one function each. */
export const api = {
  session: () => get<Session>("/api/session"),
  login: async (token: string) => {
    await request("POST", "/api/session", { token });
  },

  runs: (signal?: AbortSignal) => get<{ runs: RunSummary[]; queue: string[] }>("/api/runs", signal),
  create: (body: NewRun) => post<RunSummary>("/api/runs", body),
  run: (id: string, signal?: AbortSignal) => get<RunDetail>(run(id), signal),
  /** `leaving`: also where the page goes away meanwhile. */
  remove: async (id: string, leaving = false) => {
    await request("DELETE", run(id), {}, undefined, leaving);
  },
  label: (id: string, label: { name?: string; tags?: string[]; notes?: string }) =>
    post<RunSummary>(`${run(id)}/label`, label),
  verb: (id: string, verb: Verb) => post<RunSummary>(`${run(id)}/${verb}`),
  clone: (id: string, set: Record<string, Json> = {}, more: { name?: string; start?: boolean } = {}) =>
    post<RunSummary>(`${run(id)}/clone`, { set, ...more }),
  move: (id: string, before: string | null) => post<{ queue: string[] }>(`${run(id)}/move`, { before }),
  metrics: (id: string, query: MetricsQuery, signal?: AbortSignal) =>
    get<Metrics>(`${run(id)}/metrics${search({ ...query, series: query.series?.join(",") })}`, signal),
  usage: (id: string, signal?: AbortSignal) => get<Usage>(`${run(id)}/usage`, signal),
  metricsCsv: (id: string) => `${run(id)}/metrics.csv`,
  log: (id: string, tail: number, signal?: AbortSignal) =>
    get<{ entries: Entry[]; last: number }>(`${run(id)}/events${search({ tail })}`, signal),
  output: async (id: string, stream: "stdout" | "stderr", tail: number, signal?: AbortSignal) =>
    (await request("GET", `${run(id)}/output${search({ stream, tail })}`, undefined, signal)).text(),
  outputUrl: (id: string, stream: "stdout" | "stderr") => `${run(id)}/output${search({ stream })}`,
  configUrl: (id: string) => `${run(id)}/config.toml`,
  configText: async (id: string) => (await request("GET", `${run(id)}/config.toml`)).text(),
  artifacts: (id: string, member?: string) => get<Artifacts>(`${run(id)}/artifacts${search({ member })}`),
  artifactUrl: (id: string, name: string, member?: string) =>
    `${run(id)}/artifacts/${encodeURIComponent(name)}${search({ member })}`,
  planUrl: (id: string, member?: string) => `${run(id)}/plan.json${search({ member })}`,
  zipUrl: (id: string, member?: string) => `${run(id)}/artifacts.zip${search({ member })}`,
  /** The model in another form or with other numbers, as a zip with its name. */
  zipOf: async (
    id: string,
    query: { member?: string | undefined; form: Form; half?: boolean; int8?: boolean },
  ) => {
    const { half, int8, ...rest } = query;
    const asked = search({ ...rest, half: half ? "true" : undefined, int8: int8 ? "true" : undefined });
    const answer = await request("GET", `${run(id)}/artifacts.zip${asked}`);
    const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1];
    return { name: name ?? "model.zip", blob: await answer.blob() };
  },
  review: (id: string, member: string, signal?: AbortSignal) =>
    get<Review>(`${run(id)}/review${search({ member })}`, signal),
  versus: (id: string, first: string, second: string, signal?: AbortSignal) =>
    get<Versus>(`${run(id)}/versus${search({ first, second })}`, signal),
  pictures: (id: string, places: number[], signal?: AbortSignal) =>
    get<{ pictures: ShownPicture[] }>(`${run(id)}/pictures${search({ places: places.join(",") })}`, signal),
  /** Times the models of a run; what could not be timed, in sentences. */
  time: (id: string) => post<{ said: string[] }>(`${run(id)}/latency`),
  compare: (ids: string[], signal?: AbortSignal) =>
    get<Comparison>(`/api/compare${search({ runs: ids.join(",") })}`, signal),

  preflight: (body: NewRun, signal?: AbortSignal) => post<Preflight>("/api/preflight", body, signal),
  presets: () => get<{ presets: Preset[] }>("/api/presets"),
  schema: () => get<Config>("/api/schema"),
  toToml: (config: Config) => post<{ toml: string }>("/api/config/toml", { config }),
  parseToml: (toml: string) => post<{ config: Config }>("/api/config/parse", { toml }),

  devices: (signal?: AbortSignal) => get<{ adapters: Adapter[] }>("/api/devices", signal),
  selfTest: (index: number) => post<SelfTest>(`/api/devices/${index}/self-test`),

  teachers: (signal?: AbortSignal) => get<{ teachers: SentTeacher[] }>("/api/teachers", signal),
  removeTeacher: async (name: string) => {
    await request("DELETE", `/api/teachers/${encodeURIComponent(name)}`, {});
  },

  datasets: (signal?: AbortSignal) => get<{ datasets: Dataset[] }>("/api/datasets", signal),
  /** A drawing of training pictures, changed as these keys say. */
  augmented: async (name: string, changes: Record<string, string | number>, signal?: AbortSignal) => {
    const path = `/api/datasets/${encodeURIComponent(name)}/augmented${search(changes)}`;
    return (await request("GET", path, undefined, signal)).blob();
  },
  preview: (name: string, split: "train" | "test", count: number) =>
    get<Preview>(`/api/datasets/${encodeURIComponent(name)}/preview${search({ split, count })}`),
  suggestion: (name: string, signal?: AbortSignal) =>
    get<Suggestion>(`/api/datasets/${encodeURIComponent(name)}/suggestion`, signal),
  removeDataset: async (name: string) => {
    await request("DELETE", `/api/datasets/${encodeURIComponent(name)}`, {});
  },
};

/** Sends an archive, or a text or questions alone. */
export async function upload(
  name: string,
  file: File,
  progress: (share: number) => void,
  signal: AbortSignal,
): Promise<Dataset> {
  const sent = packed(file);
  if (!sent) throw new Error(`${file.name} ${NOT_SENDABLE}`);
  return send(`/api/datasets${search({ name })}`, sent, progress, signal);
}

/** Sends a trained network: safetensors, or an archive of a model folder. */
export async function uploadTeacher(
  name: string,
  file: File,
  progress: (share: number) => void,
  signal: AbortSignal,
): Promise<SentTeacher> {
  const type = file.name.endsWith(".safetensors") ? "application/octet-stream" : packed(file)?.type;
  if (!type) throw new Error(`${file.name} ${NO_TEACHER}`);
  return send(`/api/teachers${search({ name })}`, { type, body: file }, progress, signal);
}

/** Sends a file; `progress` hears the share that has gone, which `fetch` cannot tell. */
function send<T>(
  url: string,
  sent: { type: string; body: Blob },
  progress: (share: number) => void,
  signal: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", url);
    xhr.setRequestHeader("content-type", sent.type);
    xhr.upload.onprogress = (event) => {
      if (event.lengthComputable) progress(event.loaded / event.total);
    };
    xhr.onload = () => {
      if (xhr.status < 300) resolve(JSON.parse(xhr.responseText) as T);
      else {
        if (xhr.status === 401) unauthorised();
        reject(errorOf(xhr.status, xhr.responseText));
      }
    };
    xhr.onerror = () => {
      reject(new Error("The upload was cut off."));
    };
    xhr.onabort = () => {
      reject(new DOMException("taken back", "AbortError"));
    };
    signal.addEventListener("abort", () => {
      xhr.abort();
    });
    xhr.send(sent.body);
  });
}
