import { describe, expect, it } from "vitest";

import {
  frame,
  kindOf,
  normalise,
  resize,
  withChannels,
  withoutExif,
  withoutWebpExif,
  type Image,
} from "./image";

function pattern(height: number, width: number): Image {
  const pixels = Uint8Array.from({ length: height * width }, (_, at) => {
    const [row, column] = [Math.floor(at / width), at % width];
    return (row * 37 + column * 53 + row * column * 11) % 256;
  });
  return { height, width, channels: 1, pixels };
}

const whole = (height: number, width: number) => ({ top: 0, left: 0, height, width });

describe("resizing", () => {
  // Values of torch.nn.functional.interpolate(mode="bilinear", antialias=True), rounded; the same as in transform.rs.
  it.each<[height: number, width: number, pixels: number[]]>([
    [3, 4, [46, 136, 134, 83, 111, 145, 117, 100, 168, 119, 111, 131]],
    [2, 3, [89, 141, 98, 145, 119, 113]],
    [
      7,
      3,
      [45, 144, 71, 72, 150, 94, 105, 144, 111, 138, 118, 112, 132, 115, 101, 150, 117, 113, 176, 123, 135],
    ],
  ])("is PyTorch's, to %i × %i", (height, width, pixels) => {
    const resized = resize(pattern(5, 7), [height, width], whole(height, width), "bilinear");
    expect([...resized.pixels]).toEqual(pixels);
  });

  it("by area is the mean of what is covered", () => {
    const image = { height: 2, width: 4, channels: 1, pixels: Uint8Array.of(0, 10, 20, 30, 4, 14, 24, 37) };
    expect([...resize(image, [1, 2], whole(1, 2), "area").pixels]).toEqual([7, 28]);
    const thirds = { height: 1, width: 3, channels: 1, pixels: Uint8Array.of(30, 60, 90) };
    expect([...resize(thirds, [1, 2], whole(1, 2), "area").pixels]).toEqual([40, 80]);
  });

  it("frames the centre as torchvision does", () => {
    const framed = frame(pattern(5, 7), { size: 3, crop: 0.75, interpolation: "bilinear" });
    expect([...framed.pixels]).toEqual([96, 165, 108, 159, 144, 101, 139, 103, 135]);
    const own = pattern(5, 5);
    expect(frame(own, { size: 5, crop: 1, interpolation: "bilinear" })).toBe(own);
  });
});

it("grey is Pillow's, and numbers are normalised by channel", () => {
  const colours = Uint8Array.of(255, 0, 0, 10, 200, 30, 255, 255, 255);
  const image = { height: 1, width: 3, channels: 3, pixels: colours };
  expect([...withChannels(image, 1).pixels]).toEqual([76, 124, 255]);
  const two = { height: 1, width: 2, channels: 3, pixels: Uint8Array.of(0, 0, 0, 255, 255, 255) };
  const numbers = normalise(two, { mean: [0.5, 0.25, 0], std: [0.5, 0.25, 2] });
  expect([...numbers]).toEqual([-1, -1, 0, 1, 3, 0.5]);
});

describe("a camera's notes", () => {
  const join = (parts: Uint8Array[]) => parts.flatMap((part) => [...part]);
  it("are left out of a JPEG", () => {
    const start = [0xff, 0xd8];
    const [jfif, exif] = [
      [0xff, 0xe0, 0, 4, 1, 2],
      [0xff, 0xe1, 0, 5, 9, 9, 9],
    ];
    const scan = [0xff, 0xda, 0, 3, 7, 0xff, 0xe1, 0xff, 0xd9];
    expect(join(withoutExif(Uint8Array.from([...start, ...jfif, ...exif, ...scan])))).toEqual([
      ...start,
      ...jfif,
      ...scan,
    ]);
  });

  it("are renamed in a WebP", () => {
    const bytes = [..."RIFF\0\0\0\0WEBPVP8L\x01\0\0\0\x2f\0EXIF\x02\0\0\0EX"].map((c) => c.charCodeAt(0));
    const kept = String.fromCharCode(...withoutWebpExif(Uint8Array.from(bytes)));
    expect(kept).toBe("RIFF\0\0\0\0WEBPVP8L\x01\0\0\0\x2f\0xxxx\x02\0\0\0EX");
    expect(() => withoutWebpExif(Uint8Array.from(bytes.slice(0, 15)))).not.toThrow();
  });

  it("of a cut or lying file end with it", () => {
    for (const bytes of [
      [0xff, 0xd8],
      [0xff, 0xd8, 0xff, 0xe1, 0xff, 0xff],
      [0xff, 0xd8, 0xff, 0xe0, 0, 0, 1],
    ])
      expect(() => withoutExif(Uint8Array.from(bytes))).not.toThrow();
  });
});

describe("kinds of pictures", () => {
  it.each([
    ["\xff\xd8\xff\xe0", "JPEG"],
    ["\x89PNG\r\n", "PNG"],
    ["RIFF1234WEBPVP8 ", "WebP"],
    ["RIFF1234WAVEfmt ", undefined],
    ["BM12", "BMP"],
    ["II*\0", "TIFF"],
    ["MM\0*", "TIFF"],
    ["P6 1 1 255\n", "PPM or PGM"],
    ["GIF89a", undefined],
    ["", undefined],
  ])("are told by their first bytes: %j", (bytes, kind) => {
    expect(kindOf(Uint8Array.from([...bytes], (c) => c.charCodeAt(0)))).toBe(kind);
  });
});
