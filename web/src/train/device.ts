import { DeviceTrouble, Executor, Pipelines, type Runnable } from "../plan/executor";

/** What the engine is told of the adapter that was opened. */
export interface Opened {
  name: string;
  driver: string;
  /** Whether the browser computes on the processor. */
  software: boolean;
  f16: boolean;
}

/** There is no adapter: the engine's `none`. */
class NoAdapter extends Error {
  readonly kind = "none";
}

/** The browser's device, opened once, and again after it was lost. */
export class Device {
  private current: { pipelines: Pipelines; opened: Opened; lost: boolean } | null = null;

  /** Opens it, unless it is. WebGPU's default limits are asked for: plans are made for them, and every browser grants them. */
  async open(): Promise<Opened> {
    if (this.current && !this.current.lost) return this.current.opened;
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) throw new NoAdapter("this browser finds no graphics adapter that it can run on");
    const f16 = adapter.features.has("shader-f16");
    const device = await adapter.requestDevice({ requiredFeatures: f16 ? ["shader-f16"] : [] });
    const { vendor, architecture, device: model, description } = adapter.info;
    const opened = {
      name: description || [vendor, architecture, model].filter(Boolean).join(" ") || "WebGPU",
      driver: navigator.userAgent.replace(/^Mozilla\/5\.0 /, ""),
      software: adapter.info.isFallbackAdapter || architecture === "swiftshader",
      f16,
    };
    const current = { pipelines: new Pipelines(device), opened, lost: false };
    this.current = current;
    void device.lost.then(() => {
      current.lost = true;
    });
    return opened;
  }

  /** Makes a plan ready; pipelines that other plans of this device have had are taken from them. */
  async prepare(plan: Runnable): Promise<Executor> {
    if (!this.current || this.current.lost)
      throw new DeviceTrouble("lost", "it was lost before a plan was made ready");
    const { pipelines } = this.current;
    try {
      return await Executor.open(pipelines.device, plan, pipelines);
    } catch (error) {
      // A device that goes makes all that is asked of it fail, each in its own words.
      await Promise.race([pipelines.device.lost, new Promise((done) => setTimeout(done, 100))]);
      throw this.current.lost ? new DeviceTrouble("lost", String(error)) : error;
    }
  }
}

/** What the engine makes of an error. */
export function trouble(error: unknown): string {
  const kind = error instanceof DeviceTrouble || error instanceof NoAdapter ? error.kind : "rejected";
  return JSON.stringify({ kind, message: error instanceof Error ? error.message : String(error) });
}
