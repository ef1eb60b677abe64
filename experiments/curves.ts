import { intervalsOf } from "../backend/circuits/means.ts";
import type { LineFigure } from "../backend/common/figures/figure.ts";
import { mean, median } from "../backend/common/numerics/averages.ts";
import type { Curve } from "../backend/common/rise.ts";
import { counted } from "../backend/common/text.ts";

export { mean, median } from "../backend/common/numerics/averages.ts";
export { type Curve, crossing, finalValue, type Rise, rise } from "../backend/common/rise.ts";

/** Median of what there is; null of nothing. */
export function medianOf(values: readonly (number | undefined)[]): number | null {
  const present = values.filter((value) => value !== undefined);
  return present.length > 0 ? median(present) : null;
}

/**
 * Tells if one event comes before another: true or false where at least two measurements lie between them, undefined
 * where fewer do or one of them never comes.
 * @param steps at which both curves were measured
 */
export function comesFirst(
  first: number | undefined,
  second: number | undefined,
  steps: readonly number[],
): boolean | undefined {
  if (first === undefined || second === undefined) return undefined;
  const [low, high] = [Math.min(first, second), Math.max(first, second)];
  const between = steps.filter((step) => step > low && step < high).length;
  return between >= 2 ? first < second : undefined;
}

/** The largest of several curves at each step: the best head's score. @param curves measured at the same steps */
export function upperEnvelope(curves: readonly Curve[]): Curve {
  const { steps } = curves[0]!;
  return { steps, values: steps.map((_, i) => Math.max(...curves.map(({ values }) => values[i]!))) };
}

/** A figure's line: the mean over runs, with a band of its 95 % intervals by Student's t. @param curves of the same steps */
export function meanLine(name: string, curves: readonly Curve[]): LineFigure["lines"][number] {
  const { steps } = curves[0]!;
  const columns = steps.map((_, i) => curves.map(({ values }) => values[i]!));
  return { name, x: [...steps], y: columns.map(mean), ...(curves.length > 1 ? { band: meanBand(columns) } : {}) };
}

/** The band of a line of means: their 95 % intervals by Student's t. @param columns values of two runs or more at each x */
export function meanBand(columns: readonly (readonly number[])[]): { low: number[]; high: number[] } {
  const intervals = columns.map((values) => intervalsOf<number>(values));
  return { low: intervals.map(([low]) => low), high: intervals.map(([, high]) => high) };
}

/** The caption of lines that `meanLine` makes: "Mean of 4 seeds, bands are its 95 % intervals." @param noun of the runs, default "seed" */
export function meanCaption(count: number, noun = "seed"): string {
  return `Mean of ${counted(count, noun)}${count > 1 ? ", bands are its 95 % intervals (Student's t)" : ""}.`;
}

/** A figure's dashed line at one height: chance, a ceiling, a threshold. @param x places that it spans */
export function levelLine(name: string, x: readonly number[], value: number): LineFigure["lines"][number] {
  return { name, x: [...x], y: x.map(() => value), dashed: true };
}

/** "120 to 480" of steps that differ from run to run, "120" of one; "–" of none. */
export function spread(steps: readonly (number | undefined)[]): string {
  const present = steps.filter((step) => step !== undefined).map(Math.round);
  if (present.length === 0) return "–";
  const [low, high] = [Math.min(...present), Math.max(...present)];
  return low === high ? String(low) : `${low} to ${high}`;
}
