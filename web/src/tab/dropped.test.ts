import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { expect, test } from "vitest";

import { archiveOf, asFile, tarOf } from "./dropped";

const named = (name: string, of = "x") => ({ name, file: new Blob([of]) });

const tar = spawnSync("tar", ["--version"]).status === 0;
if (!tar) console.warn("tars are not compared with tar's: there is no tar");

test.skipIf(!tar)("tar reads our tars, long names and all", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "taper-tar-"));
  try {
    // Around the length at which a name no longer fits, and at which a record's length gets a digit more.
    const names = [1, 88, 89, 90, 91, 92, 93, 94, 150, 980, 990].map(
      (n) => `cats/${"ü".repeat(Number(n > 900) * 100)}${"a".repeat(Math.min(n, 200))}.png`,
    );
    const deep = `${"folder/".repeat(40)}b.png`;
    const all = [...names, deep];
    const at = path.join(folder, "ours.tar");
    const body = tarOf(all.map((name, i) => named(name, "p".repeat(i * 200))));
    writeFileSync(at, new Uint8Array(await body.arrayBuffer()));
    const listed = execFileSync("tar", ["--quoting-style=literal", "-tvf", at], { encoding: "utf8" });
    const read = listed
      .trim()
      .split("\n")
      .map((line) => line.split(/\s+/));
    expect(read.map((parts) => parts[5])).toEqual(all);
    expect(read.map((parts) => Number(parts[2]))).toEqual(all.map((_, i) => i * 200));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("an archive is taken as it is", () => {
  const dropped = named("My pets (2).ZIP", "zip");
  expect(archiveOf([dropped])).toEqual({ name: "My-pets-2.zip", body: dropped.file });
});

test("a folder becomes a tar without its own name, and without what systems leave in it", async () => {
  const made = archiveOf([
    named("pets/dogs/1.png"),
    named("pets/cats/1.png"),
    named("pets/.DS_Store"),
    named("pets/dogs/Thumbs.db"),
  ]);
  expect(made.name).toBe("pets.tar");
  const text = await made.body.text();
  expect(text.startsWith("cats/1.png\0")).toBe(true);
  expect(text).toContain("dogs/1.png\0");
  expect(text).not.toContain("DS_Store");
  expect(text).not.toContain("Thumbs");
});

test("several folders are classes of one set", () => {
  expect(archiveOf([named("dogs/1.png"), named("cats/1.png")]).name).toBe("pictures.tar");
});

test("what tells nothing apart is refused in a sentence", () => {
  expect(() => archiveOf([])).toThrow("no file");
  expect(() => archiveOf([named("a.png"), named("b.png")])).toThrow("a folder of pictures for each class");
  expect(() => archiveOf([named("pets/1.png"), named("pets/2.png")])).toThrow("for each class");
  expect(() => archiveOf([named("pets.7z")])).toThrow("pets.7z cannot be taken");
  expect(() => archiveOf([named("pets.tar.gz")])).toThrow("pets.tar.gz cannot be taken");
});

test("a file is sent as it is, and a folder as a tar of it", async () => {
  const story = new File(["Once"], "story.txt");
  expect(asFile([{ name: "story.txt", file: story }])).toBe(story);
  const made = asFile([named("pets/dogs/1.png"), named("pets/cats/1.png")]);
  expect(made.name).toBe("pets.tar");
  expect((await made.text()).startsWith("cats/1.png\0")).toBe(true);
  expect(() => asFile([named("pets/1.png")])).toThrow("for each class");
});
