import { PALETTES } from "../../../../backend/common/figures/palette.ts";
import { escapeXml } from "../../../../backend/common/figures/text.ts";
import { areOff } from "../switches.ts";
import { type CircuitGraph, HALF, type PlacedNode } from "./graph.ts";

/** Of edges that help the answer, and of those that work against it. */
const [HELPS, AGAINST] = PALETTES.light.lines;
const [INK, QUIET] = ["#17202a", "#7a8794"];

/** Choices of a picture. */
export interface PictureOptions {
  /** Nodes and edges that are switched off: dashed. */
  readonly off: readonly string[];
  /** A rising score helps the answer, as of a metric that falls with it. */
  readonly rising?: boolean;
  /** Written below a node. */
  readonly below?: (node: PlacedNode) => string;
}

/** A circuit's drawing as an SVG document of its own on white. */
export function graphSvg(
  { width, height, nodes, edges }: CircuitGraph,
  { off, rising = false, below = (node) => node.below }: PictureOptions,
): string {
  const dashed = (is: boolean): string => (is ? ' stroke-dasharray="4 3"' : "");
  const paths = edges.map(({ members, path, score, strength }) => {
    const out = areOff(members, off);
    const colour = out ? QUIET : score > 0 === rising ? HELPS : AGAINST;
    return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="${(0.75 + 4 * strength).toFixed(2)}" opacity="${out ? 0.4 : 0.7}"${dashed(out)}/>`;
  });
  const boxes = nodes.map((node) => {
    const { x, y, half, members, label } = node;
    const out = members.every((name) => off.includes(name));
    const words = below(node);
    const line = words === "" ? "" : `<text y="${HALF + 9}" text-anchor="middle" font-size="9" fill="${QUIET}">${escapeXml(words)}</text>`; // biome-ignore format: one line
    return `<g transform="translate(${x} ${y})"><rect x="${-half}" y="${-HALF}" width="${2 * half}" height="${2 * HALF}" rx="4" fill="#ffffff" stroke="${QUIET}"${dashed(out)}/><text dy="0.35em" text-anchor="middle" fill="${out ? QUIET : INK}">${escapeXml(label)}</text>${line}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...paths,
    ...boxes,
    "</svg>",
  ].join("\n");
}
