/** Drawings and tables as files that can be taken away. */
import { save } from "./save";

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

export function saveCsv(name: string, rows: Parameters<typeof csv>[0]): void {
  save(`${name}.csv`, new Blob([csv(rows)], { type: "text/csv" }));
}

/** What drawings stand on: letters are as light or dark as the page's, so a drawing brings its own. */
const ground = () => getComputedStyle(document.documentElement).getPropertyValue("--card").trim() || "white";

/** The text of an SVG on the page, with the styles that it has there and its ground. */
function alone(svg: SVGSVGElement): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const [from, to] = [svg.querySelectorAll("*"), copy.querySelectorAll("*")];
  from.forEach((element, k) => {
    const style = getComputedStyle(element);
    for (const name of STYLED) to[k]?.setAttribute(name, style.getPropertyValue(name));
    // What they said is in the attributes now, and their variables are the page's.
    for (const name of ["class", "style"]) to[k]?.removeAttribute(name);
  });
  const { width, height } = svg.viewBox.baseVal;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  const below = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  below.setAttribute("width", "100%");
  below.setAttribute("height", "100%");
  below.setAttribute("fill", ground());
  copy.prepend(below);
  return new XMLSerializer().serializeToString(copy);
}

export function saveSvg(name: string, svg: SVGSVGElement): void {
  save(`${name}.svg`, new Blob([alone(svg)], { type: "image/svg+xml" }));
}

/** An element as it stands on the page, on a canvas whose units are those of the drawing. */
function paint(context: CanvasRenderingContext2D, element: SVGGraphicsElement): void {
  const style = getComputedStyle(element);
  const number = (name: string) => Number(element.getAttribute(name) ?? 0);
  context.globalAlpha = Number(style.opacity);
  context.lineWidth = parseFloat(style.strokeWidth);
  context.setLineDash(
    style.strokeDasharray === "none" ? [] : style.strokeDasharray.split(/[ ,]+/).map(parseFloat),
  );
  if (element instanceof SVGTextElement) {
    context.fillStyle = style.fill;
    context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    context.textAlign = ({ middle: "center", end: "right" } as const)[style.textAnchor] ?? "left";
    context.fillText(element.textContent, number("x"), number("y"));
    return;
  }
  const path = new Path2D();
  if (element instanceof SVGRectElement)
    path.rect(number("x"), number("y"), number("width"), number("height"));
  else if (element instanceof SVGLineElement) {
    path.moveTo(number("x1"), number("y1"));
    path.lineTo(number("x2"), number("y2"));
  } else if (element instanceof SVGPathElement) path.addPath(new Path2D(element.getAttribute("d") ?? ""));
  if (style.fill !== "none") {
    context.fillStyle = style.fill;
    context.globalAlpha = Number(style.opacity) * Number(style.fillOpacity);
    context.fill(path);
    context.globalAlpha = Number(style.opacity);
  }
  if (style.stroke !== "none") {
    context.strokeStyle = style.stroke;
    context.stroke(path);
  }
}

/**
 * The same as pixels. It is painted element by element: a browser would do it from the text of the SVG as well, but only as a picture of a
 * `blob:`, which the policy of this page does not load.
 */
export async function savePng(name: string, svg: SVGSVGElement): Promise<void> {
  const { width, height } = svg.viewBox.baseVal;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.ceil(width * SCALE), Math.ceil(height * SCALE)];
  const context = canvas.getContext("2d");
  const page = svg.getScreenCTM();
  if (!context || !page) throw new Error("The browser has no canvas for this drawing.");
  context.fillStyle = ground();
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const element of svg.querySelectorAll<SVGGraphicsElement>("rect, line, path, text")) {
    const own = element.getScreenCTM();
    if (!own) continue;
    // From the element to the drawing, whatever size that has on the page.
    const { a, b, c, d, e, f } = page.inverse().multiply(own);
    context.setTransform(SCALE * a, SCALE * b, SCALE * c, SCALE * d, SCALE * e, SCALE * f);
    paint(context, element);
  }
  const blob = await new Promise<Blob | null>((resolve) => {
    canvas.toBlob(resolve, "image/png");
  });
  if (!blob) throw new Error("The browser makes no PNG of this drawing.");
  save(`${name}.png`, blob);
}
