const XML: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const PLOT: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "%": "&#37;" };

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what XML 1.0 forbids
const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const FORBIDDEN = new RegExp(`${CONTROL.source}|${LONE_SURROGATE.source}`, "g");

/** Text as XML takes it, in elements and quoted attributes, as the reports' pictures have it; what XML cannot hold becomes U+FFFD. */
export function escaped(words: string): string {
  return words.replace(FORBIDDEN, "\ufffd").replace(/[&<>"']/g, (character) => XML[character]!);
}

/**
 * Text for plotly, which reads a little HTML, links among it, and templates (%{...}) in all that it draws: a token or a name must
 * stay one. Plotly decodes these entities; what its SVG files cannot hold becomes U+FFFD.
 */
export function plotText(words: string): string {
  return words.replace(FORBIDDEN, "\ufffd").replace(/[&<>]|%(?=\{)/g, (character) => PLOT[character]!);
}

/** A value with every text in it as `plotText` has it. */
export function plotTexts<T>(value: T): T {
  if (typeof value === "string") return plotText(value) as T;
  if (Array.isArray(value)) return value.map((each) => (typeof each === "number" ? each : plotTexts(each))) as T;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plotTexts(each)])) as T;
}
