import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { expect, test } from "vitest";

import { crc32, unzipped, zipOf, type Named } from "./zip";

const text = (of: string) => new TextEncoder().encode(of);
const named = (name: string, of: string | Uint8Array<ArrayBuffer>): Named => ({ name, file: new Blob([of]) });

async function contents(files: Named[]): Promise<[string, string][]> {
  return Promise.all(
    files.map(async ({ name, file }): Promise<[string, string]> => [name, await file.text()]),
  );
}

const FILES: [string, string][] = [
  ["mine/config.toml", "seeds = [0]\n"],
  ["mine/members/win-0/artifacts/größe.txt", "äöü".repeat(1000)],
  ["mine/empty", ""],
];

/** Python's own modules read and write the same. */
const python = spawnSync("python3", ["--version"]).status === 0;
if (!python) console.warn("zips are not compared with Python's: there is no python3");

test("a sum is the one that everybody computes", () => {
  expect(crc32(text("123456789"))).toBe(0xcbf43926);
  expect(crc32(text("6789"), crc32(text("12345")))).toBe(0xcbf43926);
});

test("what is zipped comes out again", async () => {
  const zip = await zipOf(FILES.map(([name, of]) => named(name, of)));
  expect(await contents(await unzipped(zip))).toEqual(FILES);
  expect(await unzipped(await zipOf([]))).toEqual([]);
});

test.skipIf(!python)("Python reads our zips, and we read its deflated ones", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "taper-zip-"));
  try {
    const [ours, theirs] = [path.join(folder, "ours.zip"), path.join(folder, "theirs.zip")];
    writeFileSync(
      ours,
      new Uint8Array(await (await zipOf(FILES.map(([name, of]) => named(name, of)))).arrayBuffer()),
    );
    const script = [
      "import sys, zipfile, json",
      "ours = zipfile.ZipFile(sys.argv[1])",
      "assert ours.testzip() is None",
      "print(json.dumps([[n, ours.read(n).decode()] for n in ours.namelist()]))",
      "theirs = zipfile.ZipFile(sys.argv[2], 'w', zipfile.ZIP_DEFLATED)",
      "theirs.comment = b'PK' * 500",
      "theirs.writestr('mine/', '')",
      "[theirs.writestr(n, ours.read(n)) for n in ours.namelist()]",
      "theirs.close()",
    ].join("\n");
    const read = execFileSync("python3", ["-c", script, ours, theirs], { encoding: "utf8" });
    expect(JSON.parse(read)).toEqual(FILES);
    expect(await contents(await unzipped(new Blob([readFileSync(theirs)])))).toEqual(FILES);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a zip that is cut off or damaged is refused, and never half read", async () => {
  const bytes = new Uint8Array(await (await zipOf([named("a", "hello"), named("b", "world")])).arrayBuffer());
  for (let end = 0; end < bytes.length; end += 1) {
    await expect(unzipped(new Blob([bytes.slice(0, end)]))).rejects.toThrow("no zip that can be read");
  }
  const other = bytes.slice();
  other[31] = 0x58; // within the first file
  await expect(unzipped(new Blob([other]))).rejects.toThrow("a is damaged");
});
