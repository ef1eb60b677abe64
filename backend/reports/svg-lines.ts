import type { LineFigure } from "../common/figures/figure.ts";
import { isSecondRound, lineColour, PALETTES } from "../common/figures/palette.ts";
import { extent } from "../common/figures/range.ts";
import { textWidth } from "../common/figures/text.ts";
import { type Scale, scale } from "./axis.ts";
import {
  type Box,
  bottomAxis,
  element,
  HEIGHT,
  INK,
  label,
  leftAxis,
  picture,
  pixel,
  title,
  WIDTH,
  widest,
} from "./svg-parts.ts";

type Line = LineFigure["lines"][number];
type Point = readonly [x: number, y: number];

const DASHES = "6 4";

/** Draws lines over one pair of axes, with bands, marks and a legend. */
export function linesSvg(figure: LineFigure): string {
  const head = title(figure.title);
  const legend = drawLegend(figure.lines, head.bottom + 14);
  const { x, y, box } = axes(figure, legend.bottom + 12);
  const drawn = figure.lines.map((line, n) => drawLine(line, n, { x, y }, figure));
  const clip = element("clipPath", { id: "area" }, rectangle(box, {}));
  return picture(figure.title, [
    element("defs", {}, clip),
    head.svg,
    bottomAxis(x, box, figure.x.title),
    leftAxis(y, box, figure.y.title),
    rectangle(box, { class: "area", fill: "none", stroke: INK.frame }),
    element("g", { "clip-path": "url(#area)" }, drawn.join("\n")),
    ...figure.lines.map((line, n) => drawPoints(line, n, { x, y }, figure)),
    drawMarks(figure, x, box),
    legend.svg,
  ]);
}

/** Scales over all that is drawn, and the box that their labels leave. */
function axes(figure: LineFigure, top: number): { x: Scale; y: Scale; box: Box } {
  const drawable = (axis: { log?: boolean | undefined }, values: readonly (number | null)[]) =>
    extent(axis.log ? values.filter((value) => value !== null && value > 0) : values) ?? (axis.log ? [1, 10] : [0, 1]);
  const xs =
    figure.x.range ??
    drawable(figure.x, [...figure.lines.flatMap((l) => l.x), ...(figure.marks ?? []).map((m) => m.x)]);
  const ys =
    figure.y.range ??
    drawable(
      figure.y,
      figure.lines.flatMap(({ y, band, whiskers }) => [
        ...y,
        ...[band, whiskers].flatMap((range) => (range ? [...range.low, ...range.high] : [])),
      ]),
    );
  const vertical = [HEIGHT - 52, top] as const;
  const yOptions = { ...figure.y, fixed: figure.y.range !== undefined };
  const labels = scale(ys, vertical, yOptions).ticks.map((tick) => tick.label ?? "");
  const box = { left: 38 + widest(labels, 12), right: WIDTH - 24, top: vertical[1], bottom: vertical[0] };
  return {
    x: scale(xs, [box.left, box.right], { ...figure.x, fixed: true }),
    y: scale(ys, vertical, yOptions),
    box,
  };
}

function rectangle({ left, top, right, bottom }: Box, attributes: Record<string, string>): string {
  return element("rect", { x: left, y: top, width: right - left, height: bottom - top, ...attributes });
}

/** Scales of both axes. */
interface Scales {
  readonly x: Scale;
  readonly y: Scale;
}

function drawLine(line: Line, n: number, scales: Scales, figure: LineFigure): string {
  const { x, y } = scales;
  const stroke = lineColour(PALETTES.light, n);
  const points = (values: readonly (number | null)[]) =>
    stretches(line.x, values, figure).map((stretch) => stretch.map(([a, b]) => [x.at(a), y.at(b)] as const));
  const dashed = line.dashed === true || isSecondRound(PALETTES.light, n);
  const look = {
    fill: "none",
    stroke,
    "stroke-width": 2,
    "stroke-linejoin": "round",
    "stroke-dasharray": dashed ? DASHES : undefined,
  };
  const joined = line.joined === false ? [] : points(line.y);
  const parts = joined.map((stretch) => element("path", { d: path(stretch), ...look }));
  return [
    line.band ? drawBand(line, scales, figure, stroke) : "",
    ...drawWhiskers(line, scales, stroke),
    ...parts,
  ].join("");
}

/** Every value of a line with points, and those of other lines that have no neighbour to be joined to; whole at the edges. */
function drawPoints(line: Line, n: number, { x, y }: Scales, figure: LineFigure): string {
  const inside = (value: number, { domain }: Scale) => value >= domain[0] && value <= domain[1];
  return stretches(line.x, line.y, figure)
    .filter((stretch) => line.points === true || line.joined === false || stretch.length === 1)
    .flat()
    .filter(([a, b]) => inside(a, x) && inside(b, y))
    .map(([a, b]) => circle([x.at(a), y.at(b)], lineColour(PALETTES.light, n)))
    .join("");
}

function drawBand({ x: xs, band }: Line, { x, y }: Scales, figure: LineFigure, fill: string): string {
  const both = band!.low.map((low, i) => (low === null || band!.high[i] === null ? null : low));
  return stretches(xs, both, figure)
    .map((low) => {
      const at = new Map(xs.map((value, i) => [value, band!.high[i]!]));
      const high = low.map(([value]) => [value, at.get(value)!] as const).reverse();
      const outline = [...low, ...high].map(([a, b]) => [x.at(a), y.at(b)] as const);
      return element("path", { d: `${path(outline)}Z`, fill, "fill-opacity": "0.18", stroke: "none" });
    })
    .join("");
}

/** An upright stroke over each interval. */
function drawWhiskers({ x: xs, whiskers }: Line, { x, y }: Scales, stroke: string): string[] {
  return xs.flatMap((value, i) => {
    const [low, high] = [whiskers?.low[i] ?? null, whiskers?.high[i] ?? null];
    if (low === null || high === null) return [];
    const at = x.at(value);
    return element("line", { x1: at, x2: at, y1: y.at(low), y2: y.at(high), stroke, "stroke-opacity": "0.45" });
  });
}

/** The values that can be drawn, parted where one cannot. */
function stretches(xs: readonly number[], ys: readonly (number | null)[], { x, y }: LineFigure): Point[][] {
  const parts: Point[][] = [[]];
  xs.forEach((at, i) => {
    const value = ys[i] ?? null;
    const drawable = value !== null && Number.isFinite(value) && (!x.log || at > 0) && (!y.log || value > 0);
    if (drawable) parts.at(-1)!.push([at, value]);
    else if (parts.at(-1)!.length > 0) parts.push([]);
  });
  return parts.filter((part) => part.length > 0);
}

function path(points: readonly Point[]): string {
  return points.map(([a, b], i) => `${i === 0 ? "M" : "L"}${pixel(a)} ${pixel(b)}`).join("");
}

function circle([cx, cy]: Point, fill: string): string {
  return element("circle", { cx, cy, r: 3.5, fill });
}

/** Names of the lines, from the left, in as many rows as they need. */
function drawLegend(lines: readonly Line[], top: number): { svg: string; bottom: number } {
  let x = 16;
  let y = top;
  const parts = lines.map((line, n) => {
    const width = 30 + textWidth(line.name, 12) + 18;
    if (x + width > WIDTH - 16 && x > 16) {
      x = 16;
      y += 18;
    }
    const dashed = line.dashed === true || isSecondRound(PALETTES.light, n);
    const key = element("line", {
      x1: x,
      x2: x + 22,
      y1: y - 4,
      y2: y - 4,
      stroke: lineColour(PALETTES.light, n),
      "stroke-width": 2.5,
      "stroke-dasharray": dashed ? DASHES : undefined,
    });
    const drawn = key + label(line.name, x + 28, y);
    x += width;
    return drawn;
  });
  return { svg: parts.join(""), bottom: y };
}

/** Rules with their words at the top, a row lower where they would touch. */
function drawMarks({ marks = [], x: axis }: LineFigure, x: Scale, box: Box): string {
  const rowEnds: number[] = [];
  return [...marks]
    .filter((mark) => (!axis.log || mark.x > 0) && mark.x >= x.domain[0] && mark.x <= x.domain[1])
    .sort((a, b) => a.x - b.x)
    .map(({ x: value, label: words }) => {
      const at = x.at(value);
      const width = textWidth(words, 11) + 8;
      const turned = at + width > box.right;
      const start = turned ? at - width : at;
      const free = rowEnds.findIndex((end) => end <= start);
      const row = free < 0 ? rowEnds.length : free;
      rowEnds[row] = start + width;
      const rule = element("line", {
        x1: at,
        x2: at,
        y1: box.top,
        y2: box.bottom,
        stroke: INK.faint,
        "stroke-dasharray": "2 3",
      });
      const anchor = turned ? "end" : "start";
      const halo = { stroke: INK.paper, "stroke-width": 3, "paint-order": "stroke" }; // readable over lines
      const place = { "font-size": 11, fill: INK.text, "text-anchor": anchor, ...halo };
      return rule + label(words, turned ? at - 4 : at + 4, box.top + 14 + 14 * row, place);
    })
    .join("");
}
