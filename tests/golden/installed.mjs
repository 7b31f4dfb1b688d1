/** transformers.js of the folder in which `npm install @huggingface/transformers` was run (4.3 when this was written), for local folders alone. */

import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** The furthest that a score may be off. */
export const GATE = 1e-4;

export async function transformers(modules) {
  const found = createRequire(join(modules, "package.json")).resolve("@huggingface/transformers");
  const library = await import(pathToFileURL(found));
  library.env.allowRemoteModels = false;
  return library;
}

/** The largest of some distances; NaN if one is. */
export const largest = (distances) =>
  distances.reduce((most, off) => (Number.isNaN(off) || off > most ? off : most), 0);
