/** The component by itself, for tests and for trying it with `npm run dev`: tryit.html?model=/folder/ of `taper export --plan`. */
import { mount } from "svelte";

import TryIt from "./src/plan/TryIt.svelte";

const folder = new URLSearchParams(location.search).get("model") ?? "/";
const [plan, weights, config] = ["plan.json", "model.safetensors", "config.json"].map(
  (name) => folder + name,
);
mount(TryIt, {
  target: document.body,
  props: { plan: `${plan}`, weights: `${weights}`, config: `${config}` },
});
