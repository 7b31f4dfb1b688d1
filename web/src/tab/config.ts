import schema from "virtual:config-schema";
import { parse, stringify } from "smol-toml";

import type { Config, Preset } from "../api/types";
import type { Schema } from "../lib/form";

/** The configuration's schema as the page was built with it; the server's `/api/schema` says the same. */
export const SCHEMA = schema as unknown as Schema;

/** A preset as the form takes it; the first line of its text says what it is. */
export function presetOf({ name, toml }: { name: string; toml: string }): Preset {
  const description = /^#\s*(.*)/.exec(toml)?.[1] ?? "";
  return { name, description, config: configOf(toml) };
}

/** Whether a tab can read what a preset is trained on: it has no files of text. */
export function readable({ config }: Preset): boolean {
  const { data } = config as { data?: { kind?: string } };
  return data?.kind !== "text" && data?.kind !== "squad";
}

/** The tables of a configuration's text. */
export function configOf(toml: string): Config {
  return parse(toml) as Config;
}

/** A configuration as text. */
export function tomlOf(config: Config): string {
  return stringify(config);
}
