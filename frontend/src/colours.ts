import {
  colourAt,
  lineColour as colourOfLine,
  PALETTES,
  type Palette,
  plotlyScale as scaleOf,
} from "../../backend/common/figures/palette.ts";
import { theme } from "./state/theme.svelte.ts";

/** Colours of 256 even places of a scale. */
const places = (stops: readonly string[]): string[] => Array.from({ length: 256 }, (_, i) => colourAt(stops, i / 255));

const WORDS = {
  heat: { light: places(PALETTES.light.heat), dark: places(PALETTES.dark.heat) },
  diverging: { light: places(PALETTES.light.diverging), dark: places(PALETTES.dark.diverging) },
};

/** The colours that figures have now. Reactive on the theme. */
export function palette(): Palette {
  return PALETTES[ground()];
}

/** The colours of the heat map that the page has now, from nothing to much, at even steps. Reactive on the theme. */
export function heatStops(): readonly string[] {
  return palette().heat;
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
  return colourOfLine(palette(), n);
}

/** A colour scale as plotly takes it. */
export function plotlyScale(kind: "heat" | "diverging"): [number, string][] {
  return scaleOf(palette()[kind]);
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
