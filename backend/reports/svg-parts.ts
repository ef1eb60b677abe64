import { escapeXml, textWidth, wrapText } from "../common/figures/text.ts";
import type { Scale } from "./axis.ts";

/** Size of a figure in pixels. */
export const WIDTH = 760;
export const HEIGHT = 440;
/** Font of every picture; the PNG writer brings it. */
export const FONT = "Arimo";
const STACK = `${FONT}, Arial, Helvetica, sans-serif`;

/** Colours of what is no data: on white. */
export const INK = { text: "#222222", faint: "#666666", grid: "#e4e4e4", frame: "#999999", paper: "#ffffff" } as const;

/** A rectangle in pixels. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

type Attributes = Readonly<Record<string, string | number | undefined>>;

/** An element; attributes that are undefined are left out. */
export function element(name: string, attributes: Attributes, content?: string): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${typeof value === "number" ? pixel(value) : escapeXml(value!)}"`)
    .join("");
  return content === undefined ? `<${name}${written}/>` : `<${name}${written}>${content}</${name}>`;
}

/** A coordinate, to a hundredth of a pixel. */
export function pixel(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** A line of text. */
export function label(text: string, x: number, y: number, attributes: Attributes = {}): string {
  return element("text", { x, y, fill: INK.text, "font-size": 12, ...attributes }, escapeXml(text));
}

/** Width that the widest of some labels takes. */
export function widest(labels: readonly string[], size: number): number {
  return labels.reduce((most, text) => Math.max(most, textWidth(text, size)), 0);
}

/** The title's lines at the top, and where they end. */
export function title(text: string): { svg: string; bottom: number } {
  const lines = wrapText(text, 15, WIDTH - 32);
  return {
    svg: lines.map((line, n) => label(line, 16, 26 + 19 * n, { "font-size": 15, "font-weight": 700 })).join(""),
    bottom: 26 + 19 * (lines.length - 1) + 8,
  };
}

/** Ticks, their grid lines and the title of the axis below a box. */
export function bottomAxis(scale: Scale, box: Box, words: string): string {
  const parts = scale.ticks.map(({ value, label: name }) => {
    const x = scale.at(value);
    const stroke = element("line", {
      x1: x,
      x2: x,
      y1: box.bottom,
      y2: box.bottom + (name ? 5 : 3),
      stroke: INK.frame,
    });
    if (name === undefined) return stroke;
    return `${element("line", { x1: x, x2: x, y1: box.top, y2: box.bottom, stroke: INK.grid })}${stroke}${label(name, x, box.bottom + 18, { "text-anchor": "middle" })}`;
  });
  return [...parts, label(words, (box.left + box.right) / 2, box.bottom + 38, { "text-anchor": "middle" })].join("");
}

/** Ticks, their grid lines and the title of the axis left of a box. */
export function leftAxis(scale: Scale, box: Box, words: string): string {
  const parts = scale.ticks.map(({ value, label: name }) => {
    const y = scale.at(value);
    const stroke = element("line", { x1: box.left - (name ? 5 : 3), x2: box.left, y1: y, y2: y, stroke: INK.frame });
    if (name === undefined) return stroke;
    return `${element("line", { x1: box.left, x2: box.right, y1: y, y2: y, stroke: INK.grid })}${stroke}${label(name, box.left - 9, y + 4, { "text-anchor": "end" })}`;
  });
  return [...parts, sideTitle(words, box)].join("");
}

/** Words that read upwards at the left edge. */
export function sideTitle(words: string, box: Box): string {
  const y = (box.top + box.bottom) / 2;
  return label(words, 18, y, { "text-anchor": "middle", transform: `rotate(-90 18 ${pixel(y)})` });
}

/** A whole picture. @param name what it shows, for readers who cannot see it */
export function picture(name: string, parts: readonly string[], height = HEIGHT): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${pixel(height)}" viewBox="0 0 ${WIDTH} ${pixel(height)}" role="img" font-family="${STACK}">`,
    `<title>${escapeXml(name)}</title>`,
    element("rect", { width: WIDTH, height, fill: INK.paper }),
    ...parts,
    "</svg>",
  ].join("\n");
}
