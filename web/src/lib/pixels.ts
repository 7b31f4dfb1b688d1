import type { Image } from "../plan/image";

/** Draws bytes as they are; a grey picture has one of them a pixel. */
export function draw(canvas: HTMLCanvasElement, { width, height, channels, pixels }: Image): void {
  const data = new ImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    for (let c = 0; c < 3; c++) data.data[4 * k + c] = pixels[channels * k + (c % channels)] ?? 0;
    data.data[4 * k + 3] = 255;
  }
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d")?.putImageData(data, 0, 0);
}
