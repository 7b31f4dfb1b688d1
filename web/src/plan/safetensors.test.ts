import { describe, expect, it } from "vitest";

import { ordered, parseSafetensors, place } from "./safetensors";

/** A file with this header and these numbers, right or not. */
function file(header: unknown, data: number[], length?: number): ArrayBuffer {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + 4 * data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length ?? text.length), true);
  bytes.set(text, 8);
  bytes.set(new Uint8Array(Float32Array.from(data).buffer), 8 + text.length);
  return bytes.buffer;
}

const entry = (shape: number[], from: number, to: number, dtype = "F32") => ({
  dtype,
  shape,
  data_offsets: [from, to],
});

describe("a file of weights", () => {
  it("has its tensors by name, wherever the header ends", () => {
    for (const format of ["pt", "pt1", "pt12", "pt123"]) {
      const bytes = file(
        { __metadata__: { format }, b: entry([2, 1], 4, 12), a: entry([], 0, 4) },
        [1, 2, 3],
      );
      const tensors = parseSafetensors(bytes);
      expect([...tensors.keys()]).toEqual(["b", "a"]);
      expect(tensors.get("b")).toEqual({ shape: [2, 1], data: Float32Array.of(2, 3) });
      expect(tensors.get("a")?.data).toEqual(Float32Array.of(1));
    }
  });

  it("passes over counters", () => {
    expect(parseSafetensors(file({ n: entry([], 0, 8, "I64") }, [0, 0])).size).toBe(0);
  });

  it("is refused where it is cut or lies", () => {
    const good = file({ x: entry([2], 0, 8) }, [1, 2]);
    for (const cut of [0, 7, 8, 20, good.byteLength - 1])
      expect(() => parseSafetensors(good.slice(0, cut)), `cut at ${cut}`).toThrow(/damaged/);
    for (const bad of [
      file({ x: entry([2], 0, 8) }, [1, 2], 2 ** 53),
      file({ x: entry([2], 0, 4) }, [1, 2]),
      file({ x: entry([1], 8, 12) }, [1, 2]),
      file({ x: entry([-1, -2], 0, 8) }, [1, 2]),
      file({ x: entry([2 ** 52, 2 ** 52], 0, 8) }, [1, 2]),
      file({ x: { dtype: "F32" } }, []),
      file(["x"], []),
      file(null, []),
    ])
      expect(() => parseSafetensors(bad)).toThrow(/damaged/);
  });
});

describe("the order of axes", () => {
  it("turns PyTorch's convolutions into ours", () => {
    // (O, I, KH, KW) = (1, 2, 1, 3): width fastest there, channel fastest here.
    const order = { view: [1, 2, 1, 3], axes: [0, 2, 3, 1] };
    expect([...ordered(Float32Array.of(1, 2, 3, 10, 20, 30), order)]).toEqual([1, 10, 2, 20, 3, 30]);
  });

  it("must fit the tensor", () => {
    const six = new Float32Array(6);
    for (const order of [
      { view: [2, 2], axes: [0, 1] },
      { view: [2, 3], axes: [0, 0] },
      { view: [2, 3], axes: [0] },
      { view: [6], axes: [1] },
    ])
      expect(() => ordered(six, order)).toThrow(/does not fit/);
  });
});

it("a tensor that is missing or of another shape is named", () => {
  const targets = [{ name: "w", shape: [2], buffer: 0, offset: 0 }];
  const nothing = () => undefined;
  expect(() => place(targets, new Map(), nothing)).toThrow("the weights have no tensor w");
  const wrong = new Map([["w", { shape: [1, 2], data: new Float32Array(2) }]]);
  expect(() => place(targets, wrong, nothing)).toThrow("tensor w of the weights has shape [1,2], not [2]");
});
