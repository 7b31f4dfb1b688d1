/** The component by itself, for tests and for `npm run dev`: tryit.html?model=/FOLDER/, a folder of `taper export --plan`. */
import "./src/styles/app.css";

import { mount } from "svelte";

import TryIt from "./src/plan/TryIt.svelte";

const folder = new URLSearchParams(location.search).get("model") ?? "/";
const source = {
  plan: `${folder}plan.json`,
  weights: `${folder}model.safetensors`,
  config: `${folder}config.json`,
  tokenizer: `${folder}tokenizer.json`,
};
mount(TryIt, { target: document.body, props: { models: [{ who: "the student", source }] } });
