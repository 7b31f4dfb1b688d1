/**
 * The types of the HTTP API under short names. They are generated from the server's own (`generated/`); nothing is written twice.
 */
import type { components } from "../generated/api";

type Of<Name extends keyof components["schemas"]> = components["schemas"][Name];

/** A value of a configuration. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** A configuration as the form sees it: any tables of any values. What there may be in it is for `/api/schema` to say. */
export type Config = { [key: string]: Json };

export type State = Of<"State">;
export type RunSummary = Of<"RunSummary">;
export type RunDetail = Omit<Of<"RunDetail">, "config"> & { config: Config };
export type StageState = Of<"StageState">;
export type MemberState = Of<"MemberState">;
export type BlockState = Of<"BlockState">;
export type BlockSize = Of<"BlockSize">;
export type ImageModel = Of<"ImageModel">;
export type TextModel = Of<"TextModel">;
export type NetworkSize = Of<"NetworkSize">;
export type Entry = Of<"Entry">;
export type ErrorBody = Of<"Error">;
export type Preflight = Of<"Preflight">;
export type Problem = Of<"Problem">;
export type Metrics = Of<"Curves">;
export type ArtifactFile = Of<"Artifact">;
export type Artifacts = Of<"Artifacts">;
export type Form = Of<"Form">;
export type Comparison = Of<"Compared">;
export type CompareRow = Of<"Row">;
export type Paired = Of<"Paired">;
export type Review = Of<"Review">;
export type Versus = Of<"Versus">;
export type Usage = Of<"Usage">;
export type ShownPicture = Of<"Shown">;
export type Adapter = Of<"Adapter">;
export type SelfTest = Of<"SelfTest">;
export type Dataset = Of<"Dataset">;
export type Suggestion = Omit<Of<"Suggestion">, "config"> & { config: Config };
export type Choice = Of<"Choice">;
export type Preview = Of<"Preview">;
export type SentTeacher = Of<"SentTeacher">;
export type Session = Of<"Session">;
export type Preset = Omit<Of<"Preset">, "config"> & { config: Config };

/** A run that is wanted; what is left out has a default. */
export interface NewRun {
  preset?: string;
  set?: Record<string, Json>;
  config?: Config;
  name?: string;
  start?: boolean;
}
