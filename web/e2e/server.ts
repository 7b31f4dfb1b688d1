import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

/** The program that is tested: `TAPER`, else what `cargo build` makes. */
export const PROGRAM =
  process.env["TAPER"] ??
  path.resolve(
    import.meta.dirname,
    "../../target/debug",
    process.platform === "win32" ? "taper.exe" : "taper",
  );

/** A port that is free now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        if (address && typeof address === "object") resolve(address.port);
        else reject(new Error("no port"));
      });
    });
  });
}

/** `taper serve` on a data directory of its own; it can be killed and started again on the same one. */
export class Server {
  #child: ChildProcess | null = null;
  #log = "";
  readonly folder = mkdtempSync(path.join(tmpdir(), "taper-e2e-"));

  private constructor(
    readonly port: number,
    readonly host: string,
  ) {}

  /** `host` is the address it binds; any but this machine's own makes it ask for its token. */
  static async start(host = "127.0.0.1"): Promise<Server> {
    const server = new Server(await freePort(), host);
    await server.begin();
    return server;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async begin(): Promise<void> {
    const bind = `${this.host}:${this.port}`;
    const child = (this.#child = spawn(PROGRAM, ["serve", "--bind", bind, "--data-dir", this.folder], {
      stdio: ["ignore", "pipe", "pipe"],
    }));
    const keep = (text: Buffer) => (this.#log += text.toString());
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    for (let tries = 0; tries < 300; tries += 1) {
      if (child.exitCode !== null) throw new Error(`taper serve ended with ${child.exitCode}:\n${this.#log}`);
      const up = await fetch(`${this.origin}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      );
      if (up) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`taper serve does not answer:\n${this.#log}`);
  }

  /** What it has printed. */
  get log(): string {
    return this.#log;
  }

  end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
    return new Promise((resolve) => {
      child.once("exit", () => {
        resolve();
      });
      child.kill(signal);
    });
  }

  async remove(): Promise<void> {
    await this.end("SIGTERM");
    rmSync(this.folder, { recursive: true, force: true });
  }
}
