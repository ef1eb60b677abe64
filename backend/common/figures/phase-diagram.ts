import { parameterText } from "../command-line.ts";
import { counted } from "../text.ts";
import type { Figure, HeatmapFigure, LineFigure } from "./figure.ts";

/** A parameter that a sweep varies, with its values in the order in which they were given. */
export interface SweepAxis {
  readonly name: string;
  readonly values: readonly unknown[];
}

/** Mean and range of a metric over the seeds of a point. */
export interface MetricRange {
  readonly mean: number;
  readonly min: number;
  readonly max: number;
}

/** A point of a sweep with what was measured there last, by metric. */
export interface MeasuredPoint {
  readonly values: Readonly<Record<string, unknown>>;
  readonly metrics: Readonly<Record<string, MetricRange>>;
}

/** A sweep over one or two parameters. */
export interface MeasuredSweep<P extends MeasuredPoint = MeasuredPoint> {
  readonly task: string;
  readonly axes: readonly SweepAxis[];
  readonly seeds: readonly number[];
  readonly points: readonly P[];
}

/**
 * The points of a sweep as cells of its diagram [rows][columns]: the first axis from the left, the second from the bottom, numbers
 * ascending and other values in their order; one row where there is one axis. Undefined where the sweep has no point.
 */
export function diagramCells<P extends MeasuredPoint>({ axes, points }: MeasuredSweep<P>): (P | undefined)[][] {
  const [x, y] = axes;
  const key = (values: readonly unknown[]): string => JSON.stringify(values);
  const names = axes.map(({ name }) => name);
  const byValues = new Map(points.map((point) => [key(names.map((name) => point.values[name])), point]));
  const columns = ascending(x?.values ?? []);
  if (y === undefined) return [columns.map((value) => byValues.get(key([value])))];
  return ascending(y.values)
    .reverse()
    .map((row) => columns.map((column) => byValues.get(key([column, row]))));
}

/**
 * The phase diagram of a sweep over two parameters, a metric as colours; over one parameter of numbers a line with the range over
 * the seeds. What is not measured yet is left out.
 */
export function phaseDiagram(sweep: MeasuredSweep, metric: string): Figure {
  const { task, axes, seeds } = sweep;
  const [x, y] = axes;
  const cells = diagramCells(sweep);
  const head = {
    name: "phase-diagram",
    title: `${metric} of ${task} over ${axes.map(({ name }) => name).join(" and ")}`,
    caption: `Last value, mean over ${counted(seeds.length, "seed")}.`,
  };
  const values = ascending(x?.values ?? []);
  if (y === undefined && values.every((value) => typeof value === "number"))
    return { kind: "lines", ...head, ...line(values, cells[0]!, { name: x?.name ?? "", metric }) };
  const z = cells.map((row) => row.map((point) => point?.metrics[metric]?.mean ?? null));
  return {
    kind: "heatmap",
    ...head,
    x: { title: x?.name ?? "", labels: values.map(parameterText) },
    y: y
      ? { title: y.name, labels: ascending(y.values).reverse().map(parameterText) }
      : { title: "", labels: [metric] },
    z,
    scale: { title: metric, ...span(metric) },
  } satisfies HeatmapFigure;
}

function line(
  x: readonly number[],
  points: readonly (MeasuredPoint | undefined)[],
  { name, metric }: { name: string; metric: string },
): Pick<LineFigure, "x" | "y" | "lines"> {
  const ranges = points.map((point) => point?.metrics[metric]);
  const column = (part: keyof MetricRange) => ranges.map((range) => range?.[part] ?? null);
  const band = { low: column("min"), high: column("max") };
  const [first, last] = [x[0] ?? 0, x.at(-1) ?? 0];
  return {
    x: { title: name, ...(first > 0 && last >= WIDE * first ? { log: true } : {}) },
    y: { title: metric, ...span(metric) },
    lines: [{ name: metric, x: [...x], y: column("mean"), points: true, band }],
  };
}

/** Ratio of the largest to the smallest value from which an axis is logarithmic. */
const WIDE = 8;

/** An accuracy has all of its range, so that diagrams can be compared. */
function span(metric: string): { range?: [number, number] } {
  return metric.endsWith(".accuracy") ? { range: [0, 1] } : {};
}

function ascending<T>(values: readonly T[]): T[] {
  return values.every((value) => typeof value === "number") ? values.toSorted((a, b) => a - b) : [...values];
}
