import { escapeXml } from "../../../../backend/common/figures/text.ts";

/** Width of a colour bar, in pixels. */
export const BAR_WIDTH = 160;
/** Height that a colour bar takes with the words below it, in pixels. */
export const BAR_HEIGHT = 28;

/** The scale of colours of a figure. */
export interface ColourBar {
  /** Colours at even steps from the lowest to the highest value, #rrggbb. */
  readonly stops: readonly string[];
  /** The lowest and the highest value, as they are written. */
  readonly ends: readonly [string, string];
  /** Name of the values, with their unit; "" to say nothing. */
  readonly words: string;
}

/** A colour bar as elements of an SVG document, its ends below it and its words beside it. @param corner left and top, in pixels */
export function colourBarSvg(
  { stops, ends: [low, high], words }: ColourBar,
  [left, top]: readonly [number, number],
): string[] {
  const points = stops.map((colour, i) => `<stop offset="${i / (stops.length - 1)}" stop-color="${colour}"/>`);
  const right = left + BAR_WIDTH;
  return [
    `<defs><linearGradient id="scale">${points.join("")}</linearGradient></defs>`,
    `<rect class="scale" x="${left}" y="${top}" width="${BAR_WIDTH}" height="10" fill="url(#scale)" stroke="#d5dae1"/>`,
    `<text x="${left}" y="${top + 24}" text-anchor="start">${escapeXml(low)}</text>`,
    `<text x="${right}" y="${top + 24}" text-anchor="end">${escapeXml(high)}</text>`,
    ...(words === "" ? [] : [`<text x="${right + 16}" y="${top + 9}" text-anchor="start">${escapeXml(words)}</text>`]),
  ];
}
