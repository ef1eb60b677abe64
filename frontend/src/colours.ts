import { theme } from "./state/theme.svelte.ts";

type Rgb = readonly [number, number, number];

/**
 * From nothing, which is near the page's own colour, to much, at nine even steps: on light ground GnBu (Brewer 2003), as the
 * backend's reports have it; on dark ground viridis (van der Walt and Smith 2015).
 */
const HEAT = {
  light: ["#f7fcf0", "#e0f3db", "#ccebc5", "#a8ddb5", "#7bccc4", "#4eb3d3", "#2b8cbe", "#0868ac", "#084081"],
  dark: ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"],
} as const;

/** Blue over a middle to orange; blue and orange stay apart for all usual forms of colour blindness. */
const DIVERGING = {
  light: ["#053061", "#2b7bba", "#a6cbe3", "#f4f5f6", "#f5c08d", "#d9761f", "#7a3a04"],
  dark: ["#9fd4ff", "#3f9be0", "#1f5f96", "#20262d", "#9a5415", "#e58a35", "#ffce9e"],
} as const;

/** Okabe and Ito 2008, Color Universal Design, without the yellow that white swallows; on dark ground lighter ones in their order. */
const LINES = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#808080"],
  dark: ["#56b4e9", "#ff9b4a", "#3fcf9f", "#e6a3c9", "#a9b8ff", "#f0d060", "#a3b0bd"],
} as const;

const WORDS = {
  heat: { light: words(table(HEAT.light)), dark: words(table(HEAT.dark)) },
  diverging: { light: words(table(DIVERGING.light)), dark: words(table(DIVERGING.dark)) },
};

/** The colours of the heat map that the page has now, from nothing to much, at even steps. Reactive on the theme. */
export function heatStops(): readonly string[] {
  return HEAT[ground()];
}

/** Colour of a value from 0, the lowest, to 1, the highest; what lies outside takes the nearer end. Reactive. @returns #rrggbb */
export function heat(t: number): string {
  return WORDS.heat[ground()][step(t)]!;
}

/** Colour of a value from -1 over 0 to 1; the middle is near the page's own colour, dark or light. @returns #rrggbb */
export function diverging(t: number): string {
  return WORDS.diverging[ground()][step((t + 1) / 2)]!;
}

/** Colour of the n-th line of a figure; after seven they come again. Reactive on the theme. */
export function lineColour(n: number): string {
  return LINES[ground()][n % LINES.light.length]!;
}

/** Black or white, whichever can be read on a colour. @param colour #rrggbb */
export function inkOn(colour: string): "#000000" | "#ffffff" {
  const [r, g, b] = channels(colour).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff"; // relative luminance, WCAG 2
}

/** A colour scale as plotly takes it. */
export function plotlyScale(kind: "heat" | "diverging"): [number, string][] {
  const stops: readonly string[] = (kind === "heat" ? HEAT : DIVERGING)[ground()];
  return stops.map((colour, i) => [i / (stops.length - 1), colour]);
}

/** The colour that a design token has now, such as "--text": canvases and plots need more than its name. Reactive on the theme. */
export function token(name: string): string {
  theme.dark; // what follows depends on it
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function ground(): "light" | "dark" {
  return theme.dark ? "dark" : "light";
}

function step(t: number): number {
  return Math.round(Math.min(1, Math.max(0, Number.isNaN(t) ? 0 : t)) * 255);
}

function table(stops: readonly string[]): Uint8Array {
  const colours = stops.map(channels);
  const bytes = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const at = Math.min(stops.length - 2, Math.floor(place));
    for (let c = 0; c < 3; c++) {
      const [low, high] = [colours[at]![c]!, colours[at + 1]![c]!];
      bytes[3 * i + c] = Math.round(low + (high - low) * (place - at));
    }
  }
  return bytes;
}

function words(bytes: Uint8Array): string[] {
  return Array.from({ length: 256 }, (_, i) => {
    const parts = [...bytes.subarray(3 * i, 3 * i + 3)].map((value) => value.toString(16).padStart(2, "0"));
    return `#${parts.join("")}`;
  });
}

function channels(colour: string): Rgb {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16)) as unknown as Rgb;
}
