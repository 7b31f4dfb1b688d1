/** The contract between server and page. Times are seconds since 1970, accuracies are in percent. */

export type State =
  | "draft"
  | "queued"
  | "running"
  | "pausing"
  | "paused"
  | "stopping"
  | "stopped"
  | "done"
  | "failed"
  | "cancelled";

export type Method = "vanilla" | "kd" | "fitnets" | "start_only" | "win";

/** A value of the configuration; its shape is what `/api/schema` says. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Config = { [key: string]: Json };

export interface ErrorBody {
  code: string;
  message: string;
  hint?: string | null;
  field?: string | null;
}

export interface NewRun {
  preset?: string;
  set?: Record<string, Json>;
  config?: Config;
  name?: string;
  start?: boolean;
}

export interface RunSummary {
  id: string;
  name: string;
  state: State;
  created: number;
  started?: number | null;
  finished?: number | null;
  config_hash: string;
  preset?: string | null;
  arch: string;
  dataset: string;
  methods: Method[];
  seeds: number[];
  adapter?: string | null;
  adapter_kind?: string | null;
  stage?: string | null;
  member?: string | null;
  done_steps: number;
  total_steps: number;
  /** 0..1, weighted by multiply-adds. */
  progress: number;
  eta_seconds?: number | null;
  best_accuracy?: number | null;
  best_member?: string | null;
  error?: string | null;
  /** Place in the queue. */
  position?: number | null;
  attempts: number;
}

export interface RunDetail extends RunSummary {
  config: Config;
  stages: StageState[];
  members: MemberState[];
  blocks: BlockState[];
  teacher: NetworkView;
  student: NetworkView;
  artifacts: boolean;
  resumable: boolean;
  warnings: string[];
  command: { cli: string; curl: string };
}

export interface StageState {
  member: string;
  stage: string;
  steps: number;
  done: number;
  /** Which try, from 1; 0 before the first. */
  restart: number;
  /** Inputs of a step. */
  batch: number;
  state: "waiting" | "running" | "done";
  first_step?: number | null;
  last_step?: number | null;
  seconds?: number | null;
  eta_seconds?: number | null;
  memory?: number | null;
  micro_batches?: number | null;
}

export interface MergeProof {
  max_abs_error: number;
  relative_error: number;
  inputs: number;
  params_before: number;
  params_after: number;
}

export interface MemberState {
  member: string;
  method?: Method | null;
  seed: number;
  /** Whether it is trained; accuracy and loss are those of the last test until then. */
  finished: boolean;
  accuracy?: number | null;
  loss?: number | null;
  train_error?: number | null;
  epochs?: number | null;
  seconds?: number | null;
  params?: number | null;
  macs?: number | null;
  adapter?: string | null;
  merge?: MergeProof | null;
}

export interface BlockState {
  member: string;
  /** From 1. */
  block: number;
  student_width: number;
  teacher_width: number;
  discrepancy?: number | null;
  restarts: number;
  /** Share of units that hardly move over a batch. */
  dead?: number | null;
  /** Units for which the teacher had none. */
  fresh?: number | null;
  accuracy?: number | null;
}

export interface NetworkView {
  params: number;
  macs: number;
  blocks: { name: string; width: number; params: number; macs: number }[];
}

export interface Problem {
  field?: string | null;
  message: string;
  hint?: string | null;
}

export interface Preflight {
  ok: boolean;
  problems: Problem[];
  student?: NetworkView | null;
  teacher?: NetworkView | null;
  pairs: { after_block: number; student: number; teacher: number }[];
  stages: { member: string; stage: string; memory: number; micro_batches: number; steps: number }[];
  adapter?: { name: string; kind: string; limit: number } | null;
  disk: { needed: number; free: number };
  data?: { train_count: number; test_count: number; classes: number } | null;
  estimate?: { seconds: number; step_ms: number } | null;
  deviations: string[];
}

export interface Series {
  name: string;
  /** Optimiser steps of the member. */
  x: number[];
  /** null: not a number, or infinite. */
  y: (number | null)[];
}

export interface Metrics {
  members: { member: string; series: Series[] }[];
}

/** A line of a run's log: an event of the engine with its place and time. */
export type Entry = { seq: number; time: number } & EngineEvent;

export type EngineEvent =
  | { type: "run_started"; version: string; adapter: string; adapter_kind: string }
  | { type: "member_started"; member: string; method?: Method; seed: number }
  | {
      type: "stage_started";
      member: string;
      stage: string;
      restart: number;
      step: number;
      steps: number;
      done: number;
      memory: number;
      micro_batches: number;
    }
  | {
      type: "step";
      member: string;
      stage: string;
      step: number;
      stage_step: number;
      loss: number | null;
      lr: number;
      samples_per_s: number;
    }
  | {
      type: "epoch";
      member: string;
      stage: string;
      step: number;
      epoch: number;
      accuracy?: number | null;
      loss: number | null;
    }
  | { type: "block_started"; member: string; block: number; step: number; fresh: number }
  | {
      type: "block_narrowed";
      member: string;
      block: number;
      step: number;
      discrepancy: number | null;
      accuracy?: number | null;
      dead: number;
    }
  | { type: "checkpoint"; member: string; step: number; path: string }
  | ({ type: "merge"; member: string; step: number } & MergeProof)
  | {
      type: "member_finished";
      member: string;
      method?: Method;
      seed: number;
      step: number;
      accuracy: number;
      loss: number | null;
      train_error: number;
    }
  | { type: "resumed"; member?: string | null; step: number }
  | { type: "warning"; message: string }
  | { type: "log"; message: string }
  | { type: "run_finished"; status: string; error?: string | null; seconds: number };

export interface ArtifactFile {
  name: string;
  bytes: number;
  sha256: string;
}

export interface CompareRow {
  method: string;
  label?: string | null;
  accuracy_mean: number;
  accuracy_std?: number | null;
  seeds: number;
  params: number;
  macs: number;
  epochs: number;
  seconds: number;
  teacher_epochs: number;
  teacher_seconds: number;
}

export interface Comparison {
  rows: CompareRow[];
  teachers?: CompareRow[];
  differences: { key: string; values: Record<string, Json> }[];
}

export interface Adapter {
  index: number;
  name: string;
  kind: string;
  backend: string;
  driver: string;
  limits: Record<string, number>;
  features: string[];
  slot: string | number;
  is_default: boolean;
  /** The run that it trains. */
  busy?: string | null;
  self_test?: SelfTest | null;
}

export interface SelfTest {
  ok: boolean;
  ops: number;
  worst?: { op: string; error: number; tolerance: number } | null;
  seconds: number;
}

export interface Dataset {
  name: string;
  kind: string;
  bytes?: number | null;
  train_count?: number | null;
  test_count?: number | null;
  classes?: { label: string; count: number }[] | null;
  source: "registered" | "uploaded" | "builtin";
  error?: string | null;
}

export interface Sample {
  label: string;
  index: number;
  url: string;
}

export interface Preset {
  name: string;
  description: string;
  config: Config;
}

export interface Session {
  required: boolean;
  ok: boolean;
}
