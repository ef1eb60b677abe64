import { PALETTES } from "../../../backend/common/figures/palette.ts";
import { escapeXml } from "../../../backend/common/figures/text.ts";
import { type CircuitGraph, HALF } from "./graph.ts";
import { isOff } from "./switches.ts";

/** Of edges that help the answer, and of those that work against it. */
const [HELPS, AGAINST] = PALETTES.light.lines;
const [INK, QUIET] = ["#17202a", "#7a8794"];

/** A circuit's drawing as an SVG document of its own on white. @param off nodes and edges that are switched off: dashed */
export function graphSvg({ width, height, nodes, edges }: CircuitGraph, off: readonly string[]): string {
  const dashed = (is: boolean): string => (is ? ' stroke-dasharray="4 3"' : "");
  const paths = edges.map(({ ends, path, score, strength }) => {
    const out = isOff(ends, off);
    const colour = out ? QUIET : score > 0 ? AGAINST : HELPS;
    return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="${(0.75 + 4 * strength).toFixed(2)}" opacity="${out ? 0.4 : 0.7}"${dashed(out)}/>`;
  });
  const boxes = nodes.map(({ x, y, name, label }) => {
    const out = off.includes(name);
    return `<g transform="translate(${x} ${y})"><rect x="-24" y="${-HALF}" width="48" height="${2 * HALF}" rx="4" fill="#ffffff" stroke="${QUIET}"${dashed(out)}/><text dy="0.35em" text-anchor="middle" fill="${out ? QUIET : INK}">${escapeXml(label)}</text></g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...paths,
    ...boxes,
    "</svg>",
  ].join("\n");
}
