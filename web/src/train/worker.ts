/**
 * Trains in a dedicated worker. Its name is the address of the engine's module:
 * `new Worker(new URL("./train/worker.ts", import.meta.url), { type: "module", name: ADDRESS_OF_TAPER_TAB_WASM })`.
 */
import { Device } from "./device";
import { canSuspend, type Job, perform, SOON, STOP } from "./engine";
import type { Ask, Told } from "./protocol";

/** The file that says on which adapter and browser the self-test was passed. */
const PASSED = "self-test.json";

const VERSIONS = "Chrome and Edge from 137, Firefox from 153 and Safari from 27";

const device = new Device();
let asked = 0;
let training = false;

function tell(told: Told): void {
  postMessage(told);
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Why nothing can be trained here, if nothing can. */
function lacks(): string | null {
  if (!isSecureContext)
    return "Browsers allow WebGPU, on which networks are trained, only on https:// pages and on localhost.";
  if (!(navigator.gpu as GPU | undefined))
    return `This browser has no WebGPU, on which networks are trained: ${VERSIONS} have it.`;
  if (!canSuspend())
    return `This browser's WebAssembly cannot wait (JSPI), which training needs: ${VERSIONS} have it.`;
  return null;
}

/** Does a job that answers something; whatever goes wrong is told as `refused`. */
async function answer(module: WebAssembly.Module, job: Job): Promise<void> {
  await perform(module, device, job, tell, () => 0).catch((error: unknown) => {
    tell({ kind: "refused", message: sentence(error) });
  });
}

/** Trains a run, one at a time. */
async function train(module: WebAssembly.Module, job: Job): Promise<void> {
  if (training) {
    tell({ kind: "refused", message: "a run is being trained in this tab; stop it first" });
    return;
  }
  training = true;
  asked = 0;
  let ended: Told | null = null;
  try {
    await perform(
      module,
      device,
      job,
      (told) => {
        if (told.kind === "ended") ended = told;
        else tell(told);
      },
      () => {
        const now = asked;
        asked = 0;
        return now;
      },
    );
  } catch (error) {
    ended = { kind: "ended", status: "failed", message: sentence(error) };
  }
  training = false;
  // Told last, when its files are closed and another run may begin.
  if (ended) tell(ended);
}

/** What the self-test depends on. */
async function key(): Promise<string> {
  const { name, driver } = await device.open();
  return JSON.stringify({ name, driver, engine: self.name });
}

/** Whether the adapter computes what it should; what is wrong with it is told. Once passed it is not tried again by the same browser. */
async function passes(module: WebAssembly.Module): Promise<boolean> {
  const root = await navigator.storage.getDirectory();
  const now = await key();
  const before = await root.getFileHandle(PASSED).then(
    async (file) => (await file.getFile()).text(),
    () => "",
  );
  if (before === now) return true;
  let well = true;
  await perform(
    module,
    device,
    { kind: "test" },
    (told) => {
      well = false;
      tell(told);
    },
    () => 0,
  );
  if (well) {
    const file = await root.getFileHandle(PASSED, { create: true });
    const stream = await file.createWritable();
    await stream.write(now);
    await stream.close();
  }
  return well;
}

async function begin(): Promise<WebAssembly.Module | null> {
  const lacking = lacks();
  if (lacking !== null) {
    tell({ kind: "unable", message: lacking });
    return null;
  }
  try {
    const response = await fetch(self.name || "taper_tab.wasm");
    if (!response.ok) throw new Error(`the engine cannot be loaded: ${response.status} for ${response.url}`);
    const module = await WebAssembly.compile(await response.arrayBuffer());
    if (!(await passes(module))) return null;
    await answer(module, { kind: "open" });
    return module;
  } catch (error) {
    tell({ kind: "unable", message: sentence(error) });
    return null;
  }
}

const module = begin();

addEventListener("message", ({ data }: MessageEvent<Ask>) => {
  switch (data.kind) {
    case "stop":
      asked |= STOP;
      return;
    case "checkpoint":
      asked |= SOON;
      return;
    case "look":
    case "plan":
    case "review":
    case "versus":
    case "pictures":
      void module.then((module) => module && answer(module, data));
      return;
    default:
      void module.then((module) => module && train(module, data));
  }
});
