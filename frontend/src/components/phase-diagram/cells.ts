import type { SweepDocument } from "../../../../backend/common/api/sweeps.ts";
import { parameterText } from "../../../../backend/common/command-line.ts";
import type { Figure } from "../../../../backend/common/figures/figure.ts";
import { diagramCells } from "../../../../backend/common/figures/phase-diagram.ts";
import type { PlotlyFigure } from "../../../../backend/common/figures/plotly.ts";
import { figure } from "../../format.ts";
import type { Table } from "../card/files.ts";

/** A cell of a phase diagram as a line of its table. */
export interface CellRow {
  /** Values of the axes, as text. */
  readonly values: readonly string[];
  /** "0.53 (0.50 – 0.56)" of several seeds, "0.53" of one, "–" where nothing is measured. */
  readonly text: string;
  readonly mean: number | undefined;
  /** Ids of its runs. */
  readonly runs: readonly string[];
  /** Counts of runs that are not done by their status: "1 failed"; "" where all are. */
  readonly state: string;
}

/** The cells of a sweep's diagram, in the order in which it draws them: rows from the top, each from the left. */
export function cellRows(sweep: SweepDocument, metric: string): CellRow[] {
  return diagramCells(sweep)
    .flat()
    .flatMap((point) => {
      if (point === undefined) return [];
      const range = point.metrics[metric];
      const counts = new Map<string, number>();
      for (const { status } of point.runs) if (status !== "done") counts.set(status, (counts.get(status) ?? 0) + 1);
      return [
        {
          values: sweep.axes.map(({ name }) => parameterText(point.values[name])),
          text: range === undefined ? "–" : rangeText(range),
          mean: range?.mean,
          runs: point.runs.map(({ run }) => run),
          state: [...counts].map(([status, count]) => `${count} ${status}`).join(", "),
        },
      ];
    });
}

function rangeText({ mean, min, max }: { mean: number; min: number; max: number }): string {
  return min === max ? figure(mean) : `${figure(mean)} (${figure(min)} – ${figure(max)})`;
}

/** A diagram whose axes have all their values, also where nothing is measured yet: plotly shows those that have a colour. */
export function withAllCells(source: Figure, { data, layout }: PlotlyFigure): PlotlyFigure {
  if (source.kind !== "heatmap") return { data, layout };
  const [columns, rows] = [source.x.labels.length, source.y.labels.length];
  const xaxis = { ...(layout["xaxis"] as object), range: [-0.5, columns - 0.5], tickvals: source.x.labels };
  const { autorange: _, ...axis } = layout["yaxis"] as Record<string, unknown>;
  return {
    data,
    layout: { ...layout, xaxis, yaxis: { ...axis, range: [rows - 0.5, -0.5], tickvals: source.y.labels } },
  };
}

/** The cells as a table for a CSV file. */
export function cellTable(sweep: SweepDocument, metric: string): Table {
  return {
    columns: [...sweep.axes.map(({ name }) => name), metric, "runs"],
    rows: cellRows(sweep, metric).map(({ values, mean, runs }) => [...values, mean ?? "", runs.join(" ")]),
  };
}
