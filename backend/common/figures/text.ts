const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what XML 1.0 forbids
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const FORBIDDEN = new RegExp(`${CONTROL.source}|${LONE_SURROGATE.source}`, "g");

/** Text for HTML and XML, in elements and in quoted attributes; characters that XML cannot hold become U+FFFD. */
export function escapeXml(text: string): string {
  return text.replace(FORBIDDEN, "\ufffd").replace(/[&<>"']/g, (character) => ESCAPES[character]!);
}

const PLOT_ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "%": "&#37;" };

/**
 * Text for plotly.js, which reads a little HTML, links among it, and templates (%{...}) in all that it draws: a name must
 * stay a name. Plotly decodes these entities; characters that its SVG files cannot hold become U+FFFD.
 */
export function plotText(text: string): string {
  return text.replace(FORBIDDEN, "\ufffd").replace(/[&<>]|%(?=\{)/g, (character) => PLOT_ESCAPES[character]!);
}

/** A value with every text in it as `plotText` has it. */
export function plotTexts<T>(value: T): T {
  if (typeof value === "string") return plotText(value) as T;
  if (Array.isArray(value)) return value.map((each) => (typeof each === "number" ? each : plotTexts(each))) as T;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plotTexts(each)])) as T;
}

/** JSON that can stand in a <script> element: nothing in it ends the element or begins a comment. */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>\u2028\u2029]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

const NARROW = /[ijltfI.,:;'|!()[\] -]/;
const WIDE = /[mwMW@%—…]/;

/** Width of text in pixels, about: the font's widths in three classes. */
export function textWidth(text: string, size: number): number {
  let width = 0;
  for (const character of text) {
    if (NARROW.test(character)) width += 0.32;
    else if (WIDE.test(character)) width += 0.9;
    else width += /[A-Z]/.test(character) ? 0.7 : 0.56;
  }
  return width * size;
}

/** Breaks text into lines of at most so many pixels, between words. */
export function wrapText(text: string, size: number, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/).filter((part) => part !== "")) {
    const last = lines.at(-1);
    if (last !== undefined && textWidth(`${last} ${word}`, size) <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** A measured number for people: four significant digits, whole numbers whole. */
function shownNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

/** A measured value for people: a dash where there is none. */
export function measuredText(value: number | string | null): string {
  if (value === null) return "–";
  return typeof value === "number" ? shownNumber(value) : value;
}
