import { plotTexts } from "../../../../backend/common/figures/text.ts";
import { lineColour } from "../../colours.ts";
import type { Table } from "../../components/card/files.ts";
import { band } from "../../components/head-card/verdict.ts";
import type { PlotFigure } from "../../components/plot/figure.ts";

/** Losses at each place of a row, of one row or means over several. */
export interface LossLines {
  readonly clean: readonly number[];
  readonly changed: readonly number[] | undefined;
  /** [draws][places] */
  readonly draws: readonly (readonly number[])[];
  /** Label under each place. */
  readonly labels: readonly string[];
  /** Token position of the first place. */
  readonly first: number;
  /** Name of the changed line. */
  readonly name: string;
}

/** Most places that get their label under the axis. */
const MOST_LABELS = 48;

/** Clean and changed losses as lines over the range of the control's draws, as plotly takes them. */
export function tokenLossFigure(own: LossLines): PlotFigure {
  const { clean, changed, draws, labels, first, name } = plotTexts(own);
  const x = clean.map((_, i) => i + first);
  const line = (y: readonly number[], n: number, title: string) => ({
    type: "scatter",
    mode: "lines+markers",
    x,
    y,
    text: labels,
    name: title,
    line: { color: lineColour(n), width: 2 },
    marker: { size: 4 },
    hovertemplate: "%{y:.3f}",
  });
  const { low, high } = band(draws);
  const edge = (y: readonly number[], more: object) => ({
    type: "scatter",
    mode: "lines",
    x,
    y,
    line: { width: 0 },
    hoverinfo: "skip",
    ...more,
  });
  const range = draws.length === 0 ? [] : [
    edge(low, { showlegend: false }),
    edge(high, { fill: "tonexty", fillcolor: "rgba(128, 128, 128, 0.35)", name: "other heads, range of the draws" }),
  ]; // biome-ignore format: one list
  const ticks =
    labels.length <= MOST_LABELS ? { tickmode: "array", tickvals: x, ticktext: labels, tickangle: -60 } : {};
  return {
    data: [...range, line(clean, 0, "all heads"), ...(changed === undefined ? [] : [line(changed, 1, name)])],
    layout: {
      xaxis: { showgrid: false, title: { text: labels.length <= MOST_LABELS ? "" : "token" }, ...ticks },
      yaxis: { title: { text: "loss, nats" }, rangemode: "tozero" },
      hovermode: "x unified",
      margin: { l: 48, r: 8, t: 32, b: 56 },
    },
  };
}

/** The same numbers as a table. */
export function lossTable({ clean, changed, draws, labels, first }: LossLines): Table {
  const { low, high } = band(draws);
  const columns = ["position", "token", "clean"];
  if (changed !== undefined) columns.push("ablated");
  if (draws.length > 0) columns.push("control_low", "control_high");
  const rows = clean.map((loss, i) => [
    i + first,
    labels[i] ?? "",
    loss,
    ...(changed === undefined ? [] : [changed[i]!]),
    ...(draws.length > 0 ? [low[i]!, high[i]!] : []),
  ]);
  return { columns, rows };
}
