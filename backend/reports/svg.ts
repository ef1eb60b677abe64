import type { Figure } from "../common/figures/figure.ts";
import { heatmapSvg } from "./svg-heatmap.ts";
import { linesSvg } from "./svg-lines.ts";

/** Draws a figure as SVG of 760 x 440 pixels on white. */
export function toSvg(figure: Figure): string {
  return figure.kind === "lines" ? linesSvg(figure) : heatmapSvg(figure);
}
