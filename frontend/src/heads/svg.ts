import { escaped } from "../components/text.ts";
import { figure } from "../format.ts";
import { cellColours } from "./colour.ts";
import { extent, headName, type Table } from "./grid.ts";

/** What a picture of a grid says besides its cells. */
export interface GridPicture {
  readonly title: string;
  /** Query heads that share a KV head; a gap parts the groups. */
  readonly groups: number;
  readonly selected: readonly string[];
  readonly diverging?: boolean;
  /** What stands before the number of a column of the table, default H for query heads. */
  readonly prefix?: string;
}

const CELL = 24;
const MARGIN = 44;
const GAP = 4;

/** The grid as an SVG document of its own, layers from left to right, on white. */
export function gridSvg(
  values: Table,
  { title, groups, selected, diverging = false, prefix = "H" }: GridPicture,
): string {
  const heads = values[0]?.length ?? 0;
  const range = extent(values, diverging);
  const colours = cellColours(values, range, diverging);
  const chosen = new Set(selected);
  const x = (layer: number): number => MARGIN + layer * CELL;
  const y = (head: number): number => MARGIN + head * CELL + (groups > 1 ? GAP * Math.floor(head / groups) : 0);
  const cells = values.flatMap((row, layer) =>
    row.map((value, head) => {
      const name = headName(layer, head);
      const stroke = chosen.has(name) ? ' stroke="#d55e00" stroke-width="3"' : "";
      const fill = colours[layer]![head]?.paint ?? "#d5dae1";
      return `<rect x="${x(layer) + 1}" y="${y(head) + 1}" width="${CELL - 2}" height="${CELL - 2}" rx="2" fill="${fill}"${stroke}><title>${name}: ${figure(value)}</title></rect>`;
    }),
  );
  const text = (left: number, top: number, anchor: string, words: string): string =>
    `<text x="${left}" y="${top}" text-anchor="${anchor}">${escaped(words)}</text>`;
  const labels = [
    ...values.map((_, layer) => text(x(layer) + CELL / 2, MARGIN - 6, "middle", `L${layer}`)),
    ...Array.from({ length: heads }, (_, head) => text(MARGIN - 6, y(head) + CELL / 2 + 4, "end", `${prefix}${head}`)),
  ];
  const width = Math.max(x(values.length) + 12, 320);
  const height = y(heads) + 32;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11" fill="#17202a">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="12" y="18" font-size="14" font-weight="600">${escaped(title)}</text>`,
    ...labels,
    ...cells,
    text(MARGIN, height - 10, "start", `from ${figure(range[0])} to ${figure(range[1])}`),
    "</svg>",
  ].join("\n");
}

/** A picture as PNG, at twice its size. @throws Error where the browser cannot draw it */
export async function gridPng(svg: string): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = 2 * image.naturalWidth;
  canvas.height = 2 * image.naturalHeight;
  canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob === null ? reject(new Error("the picture could not be drawn")) : resolve(blob)),
      "image/png",
    );
  });
}

/** What a card takes to hand out a picture in both formats. @param svg the picture, drawn when it is asked for */
export function pictures(svg: () => string): { svg: () => Blob; png: () => Promise<Blob> } {
  return { svg: () => new Blob([svg()], { type: "image/svg+xml" }), png: () => gridPng(svg()) };
}
