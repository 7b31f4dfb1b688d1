import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

type Three = [number, number, number];

/** How linear RGB is seen by who lacks a kind of cone: Machado, Oliveira and Fernandes (2009), severity 1. */
const SEEN: Record<string, [Three, Three, Three]> = {
  all: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

const XYZ: [Three, Three, Three] = [
  [0.4124564, 0.3575761, 0.1804375],
  [0.2126729, 0.7151522, 0.072175],
  [0.0193339, 0.119192, 0.9503041],
];
const WHITE: Three = [0.95047, 1, 1.08883];

function times(matrix: [Three, Three, Three], [x, y, z]: Three): Three {
  return matrix.map(([a, b, c]) => a * x + b * y + c * z) as Three;
}

function linear(hex: string): Three {
  const part = (at: number) => parseInt(hex.slice(at, at + 2), 16) / 255;
  return [1, 3, 5].map(part).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)) as Three;
}

/** CIELAB of linear RGB, by D65. */
function lab(rgb: Three): Three {
  const shown = rgb.map((c) => Math.min(Math.max(c, 0), 1)) as Three;
  const [x, y, z] = times(XYZ, shown).map((c, k) => {
    const part = c / (WHITE[k] as number);
    return part > 216 / 24389 ? Math.cbrt(part) : ((24389 / 27) * part + 16) / 116;
  }) as Three;
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** CIEDE2000, as Sharma, Wu and Dalal (2005) write it. */
function difference([l1, a1, b1]: Three, [l2, a2, b2]: Three): number {
  const radians = (degrees: number) => (degrees * Math.PI) / 180;
  const saturated = (c: number) => Math.sqrt(c ** 7 / (c ** 7 + 25 ** 7));
  const stretch = 1.5 - 0.5 * saturated((Math.hypot(a1, b1) + Math.hypot(a2, b2)) / 2);
  const [c1, c2] = [Math.hypot(stretch * a1, b1), Math.hypot(stretch * a2, b2)];
  const hue = (b: number, a: number) => ((Math.atan2(b, a) * 180) / Math.PI + 360) % 360;
  const [h1, h2] = [hue(b1, stretch * a1), hue(b2, stretch * a2)];
  const grey = c1 * c2 === 0;
  const turn = grey ? 0 : ((h2 - h1 + 540) % 360) - 180;
  const apart = 2 * Math.sqrt(c1 * c2) * Math.sin(radians(turn / 2));
  const middle = grey ? h1 + h2 : (h1 + turn / 2 + 360) % 360;
  const [l, c] = [(l1 + l2) / 2, (c1 + c2) / 2];
  const cosine = (times: number, shift: number) => Math.cos(radians(times * middle + shift));
  const t = 1 - 0.17 * cosine(1, -30) + 0.24 * cosine(2, 0) + 0.32 * cosine(3, 6) - 0.2 * cosine(4, -63);
  const rotation = -Math.sin(radians(60 * Math.exp(-(((middle - 275) / 25) ** 2)))) * 2 * saturated(c);
  const dl = (l2 - l1) / (1 + (0.015 * (l - 50) ** 2) / Math.sqrt(20 + (l - 50) ** 2));
  const dc = (c2 - c1) / (1 + 0.045 * c);
  const dh = apart / (1 + 0.015 * c * t);
  return Math.sqrt(dl ** 2 + dc ** 2 + dh ** 2 + rotation * dc * dh);
}

function luminance(rgb: Three): number {
  return times(XYZ, rgb)[1];
}

const styles = readFileSync(new URL("../styles/app.css", import.meta.url), "utf8");
const [light = "", dark = ""] = styles.split(':root[data-theme="dark"]');

test("the difference is that of the paper's table", () => {
  // Sharma, Wu and Dalal, pairs 1, 7, 17 and 25.
  expect(difference([50, 2.6772, -79.7751], [50, 0, -82.7485])).toBeCloseTo(2.0425, 4);
  expect(difference([50, 0, 0], [50, -1, 2])).toBeCloseTo(2.3669, 4);
  expect(difference([50, 2.5, 0], [73, 25, -18])).toBeCloseTo(27.1492, 4);
  expect(difference([60.2574, -34.0099, 36.2677], [60.4626, -34.1751, 39.4387])).toBeCloseTo(1.2644, 4);
});

test.each([
  ["light", light],
  ["dark", dark],
])("no kind of colour blindness takes a method for another: %s", (_, theme) => {
  const methods = [...theme.matchAll(/--c-(\w+): (#[0-9a-f]{6});/g)];
  expect(methods.map(([, name]) => name).sort()).toEqual(
    ["embeddings_only", "fitnets", "kd", "start_only", "teacher", "vanilla", "win"].sort(),
  );
  const card = luminance(linear(/--card: (#[0-9a-f]{6});/.exec(theme)?.[1] ?? ""));
  for (const [, name, hex] of methods) {
    const own = luminance(linear(hex as string));
    const contrast = (Math.max(own, card) + 0.05) / (Math.min(own, card) + 0.05);
    expect(contrast, `${name as string} on a card`).toBeGreaterThanOrEqual(3);
  }
  for (const [kind, seen] of Object.entries(SEEN))
    methods.forEach(([, one, hex], k) => {
      for (const [, other, otherHex] of methods.slice(0, k)) {
        const [a, b] = [hex, otherHex].map((h) => lab(times(seen, linear(h as string)))) as [Three, Three];
        expect(difference(a, b), `${one as string} and ${other as string}: ${kind}`).toBeGreaterThanOrEqual(
          10,
        );
      }
    });
});
