/** Colours of figures on one ground. */
export interface Palette {
  /** Of lines, in order; they stay apart for the usual forms of colour blindness. */
  readonly lines: readonly string[];
  /** Of a heatmap from nothing, which is near the ground's own colour, to much, at even steps. */
  readonly heat: readonly string[];
  /** From below over a middle near the ground to above, at even steps: blue and orange. */
  readonly diverging: readonly string[];
}

/**
 * Palettes by the ground that they are drawn on. Lines: Okabe and Ito 2008, Color Universal Design, without the yellow that white
 * swallows; on dark ground lighter ones in their order. Heat: GnBu (Brewer 2003), on dark ground viridis (van der Walt and Smith
 * 2015).
 */
export const PALETTES = {
  light: {
    lines: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#808080"],
    heat: ["#f7fcf0", "#e0f3db", "#ccebc5", "#a8ddb5", "#7bccc4", "#4eb3d3", "#2b8cbe", "#0868ac", "#084081"],
    diverging: ["#053061", "#2b7bba", "#a6cbe3", "#f4f5f6", "#f5c08d", "#d9761f", "#7a3a04"],
  },
  dark: {
    lines: ["#56b4e9", "#ff9b4a", "#3fcf9f", "#e6a3c9", "#a9b8ff", "#f0d060", "#a3b0bd"],
    heat: ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"],
    diverging: ["#9fd4ff", "#3f9be0", "#1f5f96", "#20262d", "#9a5415", "#e58a35", "#ffce9e"],
  },
} as const satisfies Readonly<Record<"light" | "dark", Palette>>;

/** Colour of the n-th line of a figure; after the last colour they come again. */
export function lineColour({ lines }: Palette, n: number): string {
  return lines[n % lines.length]!;
}

/** Says that the n-th line is dashed, so that lines of one colour can be told apart. */
export function isSecondRound({ lines }: Palette, n: number): boolean {
  return Math.floor(n / lines.length) % 2 === 1;
}

/** Colour between the stops of a scale. @param place from 0, the first, to 1; what lies outside takes the nearer end */
export function colourAt(stops: readonly string[], place: number): string {
  const along = Math.min(1, Math.max(0, place)) * (stops.length - 1);
  const step = Math.min(stops.length - 2, Math.floor(along));
  const [low, high] = [channels(stops[step]!), channels(stops[step + 1]!)];
  const mixed = low.map((value, c) => Math.round(value + (high[c]! - value) * (along - step)));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** Stops of a scale as plotly takes them. */
export function plotlyScale(stops: readonly string[]): [number, string][] {
  return stops.map((colour, n) => [n / (stops.length - 1), colour]);
}

/** Black or white, whichever can be read on a colour. @param colour #rrggbb */
export function inkOn(colour: string): "#000000" | "#ffffff" {
  const [r, g, b] = channels(colour).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b; // WCAG 2
  return luminance > 0.179 ? "#000000" : "#ffffff";
}

function channels(colour: string): number[] {
  return [1, 3, 5].map((start) => Number.parseInt(colour.slice(start, start + 2), 16));
}
