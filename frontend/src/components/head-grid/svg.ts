import { escapeXml } from "../../../../backend/common/figures/text.ts";
import { formatHead } from "../../../../backend/common/heads/head.ts";
import type { HeadTable } from "../../../../backend/common/heads/table.ts";
import { figure } from "../../format.ts";
import { BAR_WIDTH, colourBarSvg } from "../plot/colourBar.ts";
import { cellColours, scaleStops } from "./colour.ts";
import { share, tableExtent } from "./grid.ts";

/** Contents of a picture of a grid besides its cells. */
export interface GridPicture {
  /** Query heads that share a KV head; a bracket holds them together. */
  readonly groups: number;
  readonly selected: readonly string[];
  readonly diverging?: boolean;
  /** Letters before the number of a column of the table, default H for query heads. */
  readonly prefix?: string;
  /** Of the colours, default the table's own. */
  readonly range?: readonly [number, number] | undefined;
  /** A value that says nothing, marked on the colour bar. */
  readonly chance?: number | undefined;
  /** Name of the values, with their unit. */
  readonly unit?: string | undefined;
  /** Legend of the frame around a selected head, default "selected". */
  readonly mark?: string | undefined;
}

const [CELL, GAP] = [24, 4];
const [LEFT, TOP] = [76, 24];

/** The grid as an SVG document of its own on white, layers from left to right, over its colour bar. */
export function gridSvg(values: HeadTable, options: GridPicture): string {
  const { groups, selected, diverging = false, prefix = "H", range = tableExtent(values, diverging) } = options;
  const heads = values[0]?.length ?? 0;
  const colours = cellColours(values, range, diverging);
  const chosen = new Set(selected);
  const x = (layer: number): number => LEFT + layer * CELL;
  const y = (head: number): number => TOP + head * CELL + (groups > 1 ? GAP * Math.floor(head / groups) : 0);
  const cells = values.flatMap((row, layer) =>
    row.map((value, head) => {
      const name = formatHead({ layer, head });
      const stroke = chosen.has(name) ? ' stroke="#d55e00" stroke-width="3"' : "";
      const fill = colours[layer]![head]?.paint ?? "#d5dae1";
      return `<rect x="${x(layer) + 1}" y="${y(head) + 1}" width="${CELL - 2}" height="${CELL - 2}" rx="2" fill="${fill}"${stroke}><title>${name}: ${figure(value)}</title></rect>`;
    }),
  );
  const labels = [
    ...values.map((_, layer) => text(x(layer) + CELL / 2, TOP - 6, "middle", `L${layer}`)),
    ...Array.from({ length: heads }, (_, head) => text(LEFT - 6, y(head) + CELL / 2 + 4, "end", `${prefix}${head}`)),
  ];
  const foot = y(heads - 1) + CELL + 18;
  const width = Math.max(x(values.length) + 12, 420);
  const height = foot + 34;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11" fill="#17202a">`,
    ...labels,
    ...(groups > 1
      ? Array.from({ length: heads / groups }, (_, kv) => bracket(kv, y(kv * groups), y((kv + 1) * groups - 1) + CELL))
      : []),
    ...cells,
    ...colourBar(foot, range, options),
    "</svg>",
  ].join("\n");
}

/** The brackets that hold the query heads of a KV head together. */
function bracket(kv: number, top: number, bottom: number): string {
  const [right, left] = [LEFT - 32, LEFT - 37];
  const line = `<path class="kv" d="M${right} ${top + 2}H${left}V${bottom - 2}H${right}" fill="none" stroke="#7a8794"/>`;
  return line + text(left - 5, (top + bottom) / 2 + 4, "end", `KV${kv}`);
}

/** The scale of the colours with its ends, chance, and what a frame means. */
function colourBar(top: number, range: readonly [number, number], options: GridPicture): string[] {
  const { diverging = false, chance, unit = "", selected, mark = "selected" } = options;
  const marked = chance !== undefined && chance > range[0] && chance < range[1];
  const at = LEFT + BAR_WIDTH * (marked ? share(chance, range) : 0);
  const right = LEFT + BAR_WIDTH + 16;
  return [
    ...colourBarSvg({ stops: scaleStops(diverging), ends: [figure(range[0]), figure(range[1])], words: unit }, [
      LEFT,
      top,
    ]),
    ...(marked
      ? [
          `<path class="chance" d="M${at} ${top - 4}V${top + 14}" stroke="#d55e00" stroke-width="2"/>`,
          text(right, top + 24, "start", `orange line: chance ${figure(chance)}`),
        ]
      : []),
    ...(selected.length === 0 ? [] : [text(right + (marked ? 150 : 0), top + 24, "start", `orange frame: ${mark}`)]),
  ];
}

function text(left: number, top: number, anchor: string, words: string): string {
  return `<text x="${left}" y="${top}" text-anchor="${anchor}">${escapeXml(words)}</text>`;
}
