/**
 * Colours of lines, in order. They stay apart for the usual forms of colour blindness, and on white and on black.
 * Source: Okabe and Ito 2008, Color Universal Design, without the yellow that white swallows.
 */
const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#808080"] as const;

/** Colour of the n-th line of a figure; after the last colour they come again. */
export function lineColour(n: number): string {
  return LINES[n % LINES.length]!;
}

/** Whether the n-th line is dashed so that lines of one colour can be told apart. */
export function isSecondRound(n: number): boolean {
  return Math.floor(n / LINES.length) % 2 === 1;
}

/** Colours of a heatmap from its lowest to its highest value: GnBu (Brewer 2003) at nine even steps. */
export const HEAT = [
  "#f7fcf0",
  "#e0f3db",
  "#ccebc5",
  "#a8ddb5",
  "#7bccc4",
  "#4eb3d3",
  "#2b8cbe",
  "#0868ac",
  "#084081",
] as const;

/** Colour of a heatmap's value. @param at from 0, the lowest, to 1; what lies outside takes the nearer end */
export function heatColour(at: number): string {
  const place = Math.min(1, Math.max(0, at)) * (HEAT.length - 1);
  const step = Math.min(HEAT.length - 2, Math.floor(place));
  const [low, high] = [channels(HEAT[step]!), channels(HEAT[step + 1]!)];
  const mixed = low.map((value, c) => Math.round(value + (high[c]! - value) * (place - step)));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** Black or white, whichever can be read on a colour. */
export function inkOn(colour: string): "#000000" | "#ffffff" {
  const [r, g, b] = channels(colour).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b; // WCAG 2
  return luminance > 0.179 ? "#000000" : "#ffffff";
}

function channels(colour: string): number[] {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}
