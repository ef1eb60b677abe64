import type { Figure, HeatmapFigure, LineFigure } from "./figure.ts";
import { plotlyMarks, spanOf } from "./marks.ts";
import { isSecondRound, lineColour, type Palette, plotlyScale } from "./palette.ts";
import { decimalsOf, heatRange } from "./range.ts";
import { plotTexts } from "./text.ts";

/** Traces and a layout that plotly.js draws, as JSON. Colours of the paper are the page's matter. */
export interface PlotlyFigure {
  readonly data: readonly Readonly<Record<string, unknown>>[];
  readonly layout: Readonly<Record<string, unknown>>;
}

/** A figure for plotly.js; its texts stay texts there. */
export function toPlotly(source: Figure, palette: Palette): PlotlyFigure {
  const figure = plotTexts(source);
  return figure.kind === "lines" ? lines(figure, palette) : heatmap(figure, palette);
}

function lines(figure: LineFigure, palette: Palette): PlotlyFigure {
  return {
    data: figure.lines.flatMap((line, n) => {
      const color = lineColour(palette, n);
      const group = { legendgroup: String(n), x: line.x, type: "scatter" };
      const edge = { ...group, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
      const band = line.band
        ? [
            { ...edge, y: line.band.low },
            { ...edge, y: line.band.high, fill: "tonexty", fillcolor: `${color}2e` },
          ]
        : [];
      const dash = line.dashed || isSecondRound(palette, n) ? "dash" : "solid";
      const mode = line.joined === false ? "markers" : line.points ? "lines+markers" : "lines";
      const trace = { ...group, y: line.y, mode, name: line.name, line: { color, width: 2, dash } };
      return [...band, line.whiskers ? { ...trace, error_y: plotlyWhiskers(line.y, line.whiskers, color) } : trace];
    }),
    layout: {
      title: { text: figure.title },
      xaxis: plotlyAxis(
        figure.x,
        figure.lines.flatMap(({ x }) => x),
      ),
      yaxis: plotlyAxis(
        figure.y,
        figure.lines.flatMap(({ y }) => y),
      ),
      ...plotlyMarks(figure.marks ?? [], { log: figure.x.log === true, span: spanOfAxis(figure) }),
    },
  };
}

/** Error bars of plotly.js, which are distances from the values. @param ranges intervals; null where there is none @param color as #rrggbb */
export function plotlyWhiskers(
  values: readonly (number | null)[],
  { low, high }: { readonly low: readonly (number | null)[]; readonly high: readonly (number | null)[] },
  color: string,
): Readonly<Record<string, unknown>> {
  const away = (ends: readonly (number | null)[]) =>
    values.map((value, i) => (value === null || ends[i] == null ? 0 : Math.abs(ends[i] - value)));
  return {
    ...{ type: "data", symmetric: false, array: away(high), arrayminus: away(low) },
    ...{ color: `${color}73`, thickness: 1, width: 0 },
  };
}

/** The first and the last value of the horizontal axis. */
function spanOfAxis({ x, lines, marks = [] }: LineFigure): [number, number] {
  return x.range ?? spanOf([...lines.flatMap((line) => line.x), ...marks.map((mark) => mark.x)], x.log);
}

function plotlyAxis(
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
  const { title, x, y, z, scale } = figure;
  const colorscale = plotlyScale(heat);
  const range = heatRange(figure);
  const trace = { type: "heatmap", x: x.labels, y: y.labels, z, colorscale, zmin: range[0], zmax: range[1] };
  const few = z.length * (z[0]?.length ?? 0) <= NUMBERED;
  return {
    data: [
      {
        ...trace,
        colorbar: { title: { text: scale.title, side: "right" } },
        ...(few ? { texttemplate: `%{z:.${decimalsOf(range)}f}` } : {}),
      },
    ],
    layout: {
      title: { text: title },
      xaxis: { title: { text: x.title }, type: "category" },
      yaxis: { title: { text: y.title }, type: "category", autorange: "reversed" },
    },
  };
}
