import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { expect, it } from "vitest";

import { nameOf, packed, stemOf } from "./upload";

it("makes archives of one file that GNU tar reads", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "taper-tar-"));
  try {
    for (const [name, kept, text] of [
      ["a story.txt", "a story.txt", "Once\n"],
      ["dev-v2.0.json", "dev-v2.0.json", "x".repeat(512)],
      [`${"\u00e9".repeat(60)}.txt`, "file.txt", ""],
    ] as const) {
      const tar = path.join(folder, "one.tar");
      const sent = packed(new File([text], name));
      writeFileSync(tar, Buffer.from((await sent?.body.arrayBuffer()) ?? new ArrayBuffer(0)));
      execFileSync("tar", ["-xf", tar, "-C", folder]);
      expect(readFileSync(path.join(folder, kept), "utf8")).toBe(text);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("sends archives as they are, and nothing else", () => {
  const of = (name: string) => {
    const file = new File(["x"], name);
    const sent = packed(file);
    return sent && [sent.type, sent.body === file, stemOf(name)];
  };
  expect(of("a.ZIP")).toEqual(["application/zip", true, "a"]);
  expect(of("a.b.tar.gz")).toEqual(["application/gzip", true, "a.b"]);
  expect(of("story.txt")).toEqual(["application/x-tar", false, "story"]);
  expect([of("a.rar"), of("zip"), stemOf("a.jpg")]).toEqual([null, null, null]);
});

it("names a teacher as the server takes it", () => {
  expect(["Blooms (1).zip", "ResNet18.safetensors", "é.tar.gz", "_x_.tgz"].map(nameOf)).toEqual([
    "blooms-1",
    "resnet18",
    "mine",
    "x_",
  ]);
});
