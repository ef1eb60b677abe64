import { plotlyMarks, spanOf } from "../../../backend/common/marks.ts";
import type { Figure, HeatmapFigure, LineFigure } from "../../../backend/reports/figure.ts";
import { plotTexts } from "../components/plot/text.ts";
import type { PlotlyFigure } from "../training/curves/figure.ts";

/** What a figure's colours are: of lines in order, and of a heatmap from its lowest to its highest value. */
export interface Palette {
  line(n: number): string;
  /** Whether the n-th line is dashed, where colours come a second time. */
  dashed(n: number): boolean;
  readonly heat: readonly string[];
}

/** A report's figure for plotly.js; its title is left to the card that it stands in. */
export function toPlotly(own: Figure, palette: Palette): PlotlyFigure {
  const figure = plotTexts(own);
  return figure.kind === "lines" ? lines(figure, palette) : heatmap(figure, palette);
}

function lines(figure: LineFigure, palette: Palette): PlotlyFigure {
  return {
    data: figure.lines.flatMap((line, n) => lineTraces(line, n, palette)),
    layout: {
      xaxis: axisOf(
        figure.x,
        figure.lines.flatMap(({ x }) => x),
      ),
      yaxis: axisOf(
        figure.y,
        figure.lines.flatMap(({ y }) => y),
      ),
      ...plotlyMarks(figure.marks ?? [], { log: figure.x.log === true, span: spanOfAxis(figure) }),
      legend: { orientation: "h", x: 0, y: -0.22, yanchor: "top" },
      margin: { l: 64, r: 16, t: 12, b: 56 },
    },
  };
}

function lineTraces(line: LineFigure["lines"][number], n: number, palette: Palette): Record<string, unknown>[] {
  const color = palette.line(n);
  const common = { type: "scatter", x: line.x, legendgroup: String(n) };
  const edge = { ...common, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  const dash = line.dashed === true || palette.dashed(n) ? "dash" : "solid";
  const main = {
    ...common,
    y: line.y,
    mode: line.joined === false ? "markers" : line.points === true ? "lines+markers" : "lines",
    name: line.name,
    line: { color, width: 2, dash },
  };
  if (line.band === undefined) return [main];
  const { low, high } = line.band;
  return [{ ...edge, y: low }, { ...edge, y: high, fill: "tonexty", fillcolor: `${color}2e` }, main];
}

/** The first and the last value of the horizontal axis. */
function spanOfAxis({ x, lines, marks = [] }: LineFigure): [number, number] {
  return x.range ?? spanOf([...lines.flatMap((line) => line.x), ...marks.map((mark) => mark.x)], x.log);
}

function axisOf(
  { title, log, range, whole }: LineFigure["x"],
  values: readonly (number | null)[],
): Record<string, unknown> {
  return {
    title: { text: title },
    ...(log ? { type: "log" } : {}),
    ...(whole ? wholeTicks(values) : {}),
    ...(range ? { range: log ? range.map(Math.log10) : range } : {}),
  };
}

/** Few whole numbers have a tick each: plotly would put ticks between them and write them as the same number. */
function wholeTicks(values: readonly (number | null)[]): Record<string, unknown> {
  const distinct = [...new Set(values.filter((value) => value !== null))].sort((a, b) => a - b);
  return { tickformat: "d", ...(distinct.length <= 12 ? { tickvals: distinct } : {}) };
}

/** Cells up to this many carry their number. */
const NUMBERED = 200;

function heatmap(figure: HeatmapFigure, { heat }: Palette): PlotlyFigure {
  const { x, y, z, scale } = figure;
  const [low, high] = heatRange(figure);
  const decimals = Math.min(10, Math.max(0, 2 - Math.floor(Math.log10(high - low))));
  return {
    data: [
      {
        type: "heatmap",
        x: x.labels,
        y: y.labels,
        z,
        colorscale: heat.map((colour, n) => [n / (heat.length - 1), colour]),
        zmin: low,
        zmax: high,
        colorbar: { title: { text: scale.title, side: "right" } },
        ...(z.length * x.labels.length <= NUMBERED ? { texttemplate: `%{z:.${decimals}f}` } : {}),
      },
    ],
    layout: {
      xaxis: { title: { text: x.title }, type: "category" },
      yaxis: { title: { text: y.title }, type: "category", autorange: "reversed" },
      margin: { l: 64, r: 16, t: 12, b: 56 },
    },
  };
}

/** Values of the first and last colour: as the figure says, else what the table covers. */
function heatRange({ scale, z }: HeatmapFigure): [number, number] {
  if (scale.range !== undefined) return scale.range;
  const found = z.flat().filter((value) => value !== null);
  if (found.length === 0) return [0, 1];
  const [low, high] = [found.reduce((a, b) => Math.min(a, b)), found.reduce((a, b) => Math.max(a, b))];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

/** A figure's numbers as a table. */
export function figureRows(figure: Figure): { columns: string[]; rows: (string | number)[][] } {
  if (figure.kind === "heatmap")
    return {
      columns: [figure.y.title, figure.x.title, figure.scale.title],
      rows: figure.z.flatMap((row, r) =>
        row.map((value, c): (string | number)[] => [figure.y.labels[r]!, figure.x.labels[c]!, value ?? ""]),
      ),
    };
  return {
    columns: ["line", figure.x.title, figure.y.title, "low", "high"],
    rows: figure.lines.flatMap(({ name, x, y, band }) =>
      x.map((at, i): (string | number)[] => [name, at, y[i] ?? "", band?.low[i] ?? "", band?.high[i] ?? ""]),
    ),
  };
}
