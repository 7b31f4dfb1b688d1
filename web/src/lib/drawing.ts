/** Drawings and tables as files that can be taken away. */

/** Properties of styles that an SVG needs of its own, as a file has no style sheet. */
const STYLED = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "opacity",
  "font-size",
  "font-family",
  "text-anchor",
] as const;

/** Pixels of a PNG for each pixel on the page. */
const SCALE = 2;

/** A name that every system takes as that of a file. */
export function fileName(...parts: string[]): string {
  const name = parts.join("-").replace(/[^\p{L}\p{N}._-]+/gu, "-");
  return name.replace(/^[-.]+|[-.]+$/g, "").slice(0, 80) || "taper";
}

/** Rows of cells as CSV (RFC 4180); a cell that a spreadsheet would take for a formula is quoted as text. */
export function csv(rows: readonly (readonly (string | number | null | undefined)[])[]): string {
  const cell = (value: string | number | null | undefined) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
}

/** Has the browser keep a file. */
export function save(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // Not before the browser has begun to read it.
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 60_000);
}

export function saveCsv(name: string, rows: Parameters<typeof csv>[0]): void {
  save(`${name}.csv`, new Blob([csv(rows)], { type: "text/csv" }));
}

/** The text of an SVG on the page, with the styles that it has there and the page's own ground. */
function alone(svg: SVGSVGElement): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const [from, to] = [svg.querySelectorAll("*"), copy.querySelectorAll("*")];
  from.forEach((element, k) => {
    const style = getComputedStyle(element);
    for (const name of STYLED) to[k]?.setAttribute(name, style.getPropertyValue(name));
    to[k]?.removeAttribute("class");
  });
  const { width, height } = svg.viewBox.baseVal;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  ground.setAttribute("width", "100%");
  ground.setAttribute("height", "100%");
  ground.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
  copy.prepend(ground);
  return new XMLSerializer().serializeToString(copy);
}

export function saveSvg(name: string, svg: SVGSVGElement): void {
  save(`${name}.svg`, new Blob([alone(svg)], { type: "image/svg+xml" }));
}

/** The same as pixels, drawn on a canvas from the text of the drawing. */
export async function savePng(name: string, svg: SVGSVGElement): Promise<void> {
  const { width, height } = svg.viewBox.baseVal;
  const url = URL.createObjectURL(new Blob([alone(svg)], { type: "image/svg+xml" }));
  try {
    const image = new Image(width, height);
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width * SCALE, height * SCALE];
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise<Blob | null>((resolve) => {
      canvas.toBlob(resolve, "image/png");
    });
    if (!blob) throw new Error("The browser makes no PNG of this drawing.");
    save(`${name}.png`, blob);
  } finally {
    URL.revokeObjectURL(url);
  }
}
