import type { Figure } from "../../../../backend/common/figures/figure.ts";
import type { Palette } from "../../../../backend/common/figures/palette.ts";
import { type PlotlyFigure, toPlotly } from "../../../../backend/common/figures/plotly.ts";
import type { Table } from "../card/files.ts";

/** A report's figure for plotly.js as a card shows it: the title stands in the card. */
export function cardFigure(figure: Figure, palette: Palette): PlotlyFigure {
  const { data, layout } = toPlotly(figure, palette);
  const { title: _, ...rest } = layout;
  const legend = figure.kind === "lines" && { legend: { orientation: "h", x: 0, y: -0.22, yanchor: "top" } };
  return { data, layout: { ...rest, ...legend, margin: { l: 64, r: 16, t: 12, b: 56 } } };
}

/** A figure's numbers as a table. */
export function figureRows(figure: Figure): Table {
  if (figure.kind === "heatmap")
    return {
      columns: [figure.y.title, figure.x.title, figure.scale.title],
      rows: figure.z.flatMap((row, r) =>
        row.map((value, c) => [figure.y.labels[r]!, figure.x.labels[c]!, value ?? ""]),
      ),
    };
  return {
    columns: ["line", figure.x.title, figure.y.title, "low", "high"],
    rows: figure.lines.flatMap(({ name, x, y, band }) =>
      x.map((at, i) => [name, at, y[i] ?? "", band?.low[i] ?? "", band?.high[i] ?? ""]),
    ),
  };
}
