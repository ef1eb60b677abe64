import { escapeXml } from "../../../../backend/common/figures/text.ts";
import { cellColour, scaleStops } from "../../components/head-grid/colour.ts";
import { colourBarSvg } from "../../components/plot/colourBar.ts";
import { figure, visible } from "../../format.ts";
import type { Looks } from "./looks.svelte.ts";
import { largestWeight, shownPositions } from "./rows.ts";

const [LEFT, TOP, CELL, ROW] = [70, 96, 34, 22];
/** Characters of a token that are drawn. */
const MOST = 14;

/** Heads by tokens as an SVG document of its own on white, over its colour bar. @param unit of the weights */
export function looksSvg(looks: Looks, unit: string): string {
  const positions = shownPositions(looks);
  const range = [0, looks.weighted ? largestWeight(looks.heads) : 1] as const;
  const [width, foot] = [LEFT + positions.length * CELL + 40, TOP + looks.heads.length * ROW + 12];
  const names = positions.map((p, i) => {
    const token = visible(looks.tokens[p]!);
    const words = token.length > MOST ? `${token.slice(0, MOST - 1)}…` : token;
    return `<text transform="translate(${LEFT + (i + 0.6) * CELL} ${TOP - 6}) rotate(-60)">${escapeXml(words)}</text>`;
  });
  const rows = looks.heads.map(({ head, weights }, r) => {
    const y = TOP + r * ROW;
    const cells = positions.map((p, i) => {
      const colour = cellColour(weights[p]!, range);
      const x = LEFT + i * CELL;
      const words = `<text x="${x + CELL / 2 - 0.5}" y="${y + 14}" text-anchor="middle" font-size="10" fill="${colour?.ink}">${cellText(weights[p]!, looks.weighted)}</text>`;
      return `<rect x="${x}" y="${y}" width="${CELL - 1}" height="${ROW - 1}" fill="${colour?.paint}"/>${words}`;
    });
    return `<text x="${LEFT - 8}" y="${y + 15}" text-anchor="end">${head}</text>${cells.join("")}`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.max(width, 360)}" height="${foot + 34}" viewBox="0 0 ${Math.max(width, 360)} ${foot + 34}" font-family="sans-serif" font-size="11" fill="#17202a">`,
    ...names,
    ...rows,
    ...colourBarSvg({ stops: scaleStops(false), ends: [figure(range[0]), figure(range[1])], words: unit }, [
      LEFT,
      foot,
    ]),
    "</svg>",
  ].join("\n");
}

/** A weight as a cell has room for it; "" where there is hardly any. */
export function cellText(weight: number, byValue: boolean): string {
  if (byValue) return weight < 0.05 ? "" : weight.toPrecision(2);
  return weight < 0.05 ? "" : weight.toFixed(2).replace(/^0/, "");
}
