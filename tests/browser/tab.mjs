// node tab.mjs FOLDER: trains in a worker of Chromium as FOLDER/script.json says, and prints what the worker told as JSON.
//
// FOLDER/taper_tab.wasm is the engine. script.json is a list of steps, each in a browser's page of its own:
//   {ask, until}                 asks, and waits for something told of the kind `until`; meanwhile, all of them where they are there:
//     freeze                     after a checkpoint the page is frozen for so many milliseconds
//     crash                      after a checkpoint the browser's GPU process crashes, so that the device is lost
//     after, then, kill          after so many checkpoints something more is asked, or the page is closed at once
//   {put, from}                  copies a folder of FOLDER into the origin's private files
//   {get, to}                    copies a folder of the origin's private files to FOLDER

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import { browse, WEBGPU } from "./serve.mjs";

const [folder] = process.argv.slice(2);
const steps = JSON.parse(await readFile(path.join(folder, "script.json"), "utf8"));

/** In the page: a worker, and what it told. */
function start() {
  globalThis.told = [];
  globalThis.worker = new Worker("/src/train/worker.ts", {
    type: "module",
    name: new URL("/test/taper_tab.wasm", location.href).href,
  });
  globalThis.worker.onmessage = ({ data }) => globalThis.told.push(data);
  globalThis.worker.onerror = ({ message }) =>
    globalThis.told.push({ kind: "unable", message: `worker: ${message}` });
}

/** Node: waits until the worker has told something, in the page. */
const wait = (page, kinds, checkpoints = 0) =>
  page.waitForFunction(
    ({ kinds, checkpoints }) => {
      const { told } = globalThis;
      const entries = told.filter(({ kind, entry }) => kind === "entry" && entry.type === "checkpoint");
      if (checkpoints > 0 && entries.length >= checkpoints) return true;
      return told.some(({ kind }) => kinds.includes(kind) || kind === "unable");
    },
    { kinds, checkpoints },
    { timeout: 900_000, polling: 50 },
  );

/** In the page: a file of the origin's private files, as base64. */
async function put({ at, bytes }) {
  const parts = at.split("/").filter(Boolean);
  const name = parts.pop();
  let folder = await navigator.storage.getDirectory();
  for (const part of parts) folder = await folder.getDirectoryHandle(part, { create: true });
  const file = await folder.getFileHandle(name, { create: true });
  const stream = await file.createWritable();
  await stream.write(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)));
  await stream.close();
}

/** In the page: all files of a folder. */
async function get(at) {
  let folder = await navigator.storage.getDirectory();
  for (const part of at.split("/").filter(Boolean)) folder = await folder.getDirectoryHandle(part);
  const files = {};
  const walk = async (folder, before) => {
    for await (const [name, handle] of folder) {
      if (handle.kind === "directory") await walk(handle, `${before}${name}/`);
      else {
        const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
        let text = "";
        for (let k = 0; k < bytes.length; k += 8192)
          text += String.fromCharCode(...bytes.subarray(k, k + 8192));
        files[before + name] = btoa(text);
      }
    }
  };
  await walk(folder, "");
  return files;
}

async function files(at, before = "") {
  const items = await readdir(path.join(at, before), { withFileTypes: true });
  const all = await Promise.all(
    items.map((item) =>
      item.isDirectory() ? files(at, `${before}${item.name}/`) : [before + item.name],
    ),
  );
  return all.flat();
}

const results = await browse(folder, WEBGPU, async (open) => {
  const results = [];
  for (const step of steps) {
    const page = await open("/src/icon.svg");
    const begun = Date.now();
    if (step.put) {
      const from = path.join(folder, step.from);
      for (const name of await files(from)) {
        const bytes = (await readFile(path.join(from, name))).toString("base64");
        await page.evaluate(put, { at: `${step.put}/${name}`, bytes });
      }
      results.push([]);
    } else if (step.get) {
      const all = await page.evaluate(get, step.get);
      for (const [name, bytes] of Object.entries(all)) {
        const to = path.join(folder, step.to, name);
        await mkdir(path.dirname(to), { recursive: true });
        await writeFile(to, Buffer.from(bytes, "base64"));
      }
      results.push(Object.keys(all));
    } else {
      await page.evaluate(start);
      await wait(page, ["ready"]);
      const ready = Date.now() - begun;
      if (step.ask) await page.evaluate((ask) => globalThis.worker.postMessage(ask), step.ask);
      if (step.freeze) {
        const session = await page.context().newCDPSession(page);
        await wait(page, step.until, 1);
        await session.send("Page.setWebLifecycleState", { state: "frozen" });
        await new Promise((done) => setTimeout(done, step.freeze));
        await session.send("Page.setWebLifecycleState", { state: "active" });
      }
      if (step.crash) {
        await wait(page, step.until, 1);
        const session = await page.context().browser().newBrowserCDPSession();
        await session.send("Browser.crashGpuProcess").catch(() => undefined);
      }
      if (step.after) await wait(page, step.until, step.after);
      if (step.then) await page.evaluate((ask) => globalThis.worker.postMessage(ask), step.then);
      if (step.ask && !step.kill) await wait(page, step.until);
      const told = await page.evaluate(() => globalThis.told);
      results.push([{ kind: "time", ready, all: Date.now() - begun }, ...told]);
    }
    await page.close();
  }
  return results;
});
console.log(JSON.stringify(results));
