import { escapeXml } from "../../../backend/common/figures/text.ts";
import { type PatternScale, patternBar } from "../components/matrix/exports.ts";
import { BAR_HEIGHT, colourBarSvg } from "../components/plot/colourBar.ts";

/** A head's small picture. */
export interface Thumb {
  /** LAYER.HEAD */
  readonly head: string;
  /** Data URL of a PNG. */
  readonly image: string;
}

const SIZE = 120;
const GAP = 12;
const TOP = 8;
const LABEL = 20;
const MOST_A_ROW = 8;

/** The heads of a layer as one SVG document on white: their pictures in rows, each over its name, and the colour bar of them all. */
export function layerSvg(thumbs: readonly Thumb[], scale: PatternScale): string {
  const columns = Math.min(MOST_A_ROW, thumbs.length);
  const width = GAP + Math.max(3, columns) * (SIZE + GAP);
  const foot = TOP + Math.ceil(thumbs.length / MOST_A_ROW) * (SIZE + LABEL + GAP);
  const height = foot + BAR_HEIGHT + GAP;
  const cells = thumbs.map(({ head, image }, i) => {
    const x = GAP + (i % MOST_A_ROW) * (SIZE + GAP);
    const y = TOP + Math.floor(i / MOST_A_ROW) * (SIZE + LABEL + GAP);
    return `<image x="${x}" y="${y}" width="${SIZE}" height="${SIZE}" href="${image}" style="image-rendering:pixelated"/><text x="${x + SIZE / 2}" y="${y + SIZE + 14}" text-anchor="middle">${escapeXml(head)}</text>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="#17202a">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...cells,
    ...colourBarSvg(patternBar(scale), [GAP, foot]),
    "</svg>",
  ].join("\n");
}
