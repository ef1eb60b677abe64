import type { HeatmapFigure } from "../common/figures/figure.ts";
import { colourAt, inkOn, PALETTES } from "../common/figures/palette.ts";
import { decimalsOf, heatRange } from "../common/figures/range.ts";
import { textWidth } from "../common/figures/text.ts";
import { scale } from "./axis.ts";
import { type Box, element, HEIGHT, INK, label, picture, pixel, sideTitle, title, WIDTH, widest } from "./svg-parts.ts";

const HEAT = PALETTES.light.heat;

/** Draws a table of numbers as colours, the numbers themselves where they fit, and a bar that explains the colours. */
export function heatmapSvg(figure: HeatmapFigure): string {
  const head = title(figure.title);
  const { x, y, z } = figure;
  const top = head.bottom + 14;
  const slanted = slant(figure);
  const bottom = HEIGHT - 44 - (slanted ? Math.min(120, widest(x.labels, 12) * 0.75) : 12);
  const box: Box = { left: 42 + widest(y.labels, 12), right: WIDTH - 96, top, bottom };
  const range = heatRange(figure);
  const cell = { width: (box.right - box.left) / x.labels.length, height: (box.bottom - box.top) / y.labels.length };
  const cells = z.flatMap((row, r) =>
    row.map((value, c) =>
      drawCell(value, { x: box.left + c * cell.width, y: box.top + r * cell.height, ...cell }, range),
    ),
  );
  const names = [
    ...every(x.labels, slanted ? 14 / cell.width : 1).map(([name, c]) => {
      const at = box.left + (c + 0.5) * cell.width;
      if (!slanted) return label(name, at, box.bottom + 17, { "text-anchor": "middle" });
      return label(name, at, box.bottom + 14, {
        "text-anchor": "end",
        transform: `rotate(-45 ${pixel(at)} ${pixel(box.bottom + 14)})`,
      });
    }),
    ...every(y.labels, 13 / cell.height).map(([name, r]) =>
      label(name, box.left - 8, box.top + (r + 0.5) * cell.height + 4, { "text-anchor": "end" }),
    ),
    label(x.title, (box.left + box.right) / 2, HEIGHT - 14, { "text-anchor": "middle" }),
    sideTitle(y.title, box),
  ];
  return picture(figure.title, [head.svg, cells.join("\n"), ...names, colourBar(figure.scale.title, range, box)]);
}

/** Says that the column names are too wide to stand side by side. */
function slant({ x, y }: HeatmapFigure): boolean {
  const room = (WIDTH - 96 - 42 - widest(y.labels, 12)) / Math.max(1, x.labels.length);
  return widest(x.labels, 12) + 6 > room;
}

/** Every n-th label, where all would touch. @param step how many labels one takes the room of */
function every(labels: readonly string[], step: number): [string, number][] {
  const n = Math.max(1, Math.ceil(step));
  return labels.map((name, i) => [name, i] as [string, number]).filter(([, i]) => i % n === 0);
}

function drawCell(
  value: number | null,
  { x, y, width, height }: Readonly<Record<"x" | "y" | "width" | "height", number>>,
  [low, high]: readonly [number, number],
): string {
  const finite = value !== null && Number.isFinite(value);
  const fill = finite ? colourAt(HEAT, (value - low) / (high - low)) : INK.grid;
  const square = element("rect", { class: "cell", x, y, width: width + 0.3, height: height + 0.3, fill });
  const text = finite ? value.toFixed(decimalsOf([low, high])) : "–";
  if (textWidth(text, 11) + 4 > width || height < 14) return square;
  const place = { "text-anchor": "middle", "font-size": 11, fill: inkOn(fill) };
  return square + label(text, x + width / 2, y + height / 2 + 4, place);
}

function colourBar(words: string, range: readonly [number, number], box: Box): string {
  const left = box.right + 16;
  const stops = HEAT.map((colour, n) =>
    element("stop", { offset: 1 - n / (HEAT.length - 1), "stop-color": colour }),
  ).reverse();
  const gradient = element("linearGradient", { id: "heat", x1: 0, x2: 0, y1: 0, y2: 1 }, stops.join(""));
  const axis = scale(range, [box.bottom, box.top], { fixed: true });
  const middle = (box.top + box.bottom) / 2;
  return [
    element("defs", {}, gradient),
    element("rect", { x: left, y: box.top, width: 14, height: box.bottom - box.top, fill: "url(#heat)" }),
    ...axis.ticks.map(({ value, label: name }) =>
      label(name ?? "", left + 19, axis.at(value) + 4, { "font-size": 11 }),
    ),
    label(words, WIDTH - 12, middle, {
      "text-anchor": "middle",
      transform: `rotate(-90 ${WIDTH - 12} ${pixel(middle)})`,
    }),
  ].join("");
}
