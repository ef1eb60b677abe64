import { interval, resamplesOf } from "../backend/circuits/evaluation/resample.ts";
import type { Interval } from "../backend/common/api/circuits.ts";
import type { LineFigure } from "../backend/common/figures/figure.ts";
import { Random } from "../backend/common/random.ts";
import { signed } from "../backend/common/text.ts";
import { mean } from "./curves.ts";

const RESAMPLES = 2000;

/** Mean of items with its 95 % bootstrap interval. */
export function meanInterval(items: readonly number[]): Interval {
  return interval(items, mean, resamplesOf(items.length, RESAMPLES, new Random(0)));
}

/** "0.53 (0.41 to 0.66)": a mean with its 95 % interval. */
export function meanText(items: readonly number[]): string {
  return withInterval(items, (value) => value.toFixed(2));
}

/** "-0.53 (-0.66 to -0.41)": a mean difference with its 95 % interval. */
export function differenceText(items: readonly number[]): string {
  return withInterval(items, (value) => signed(value, 2));
}

function withInterval(items: readonly number[], text: (value: number) => string): string {
  if (items.length === 0) return "–";
  const { value, low, high } = meanInterval(items);
  return low === null ? text(value) : `${text(value)} (${text(low)} to ${text(high!)})`;
}

/** A figure's means with their 95 % intervals. @param columns items of every value of x */
export function meansLine(
  name: string,
  x: readonly number[],
  columns: readonly (readonly number[])[],
): LineFigure["lines"][number] {
  const intervals = columns.map(meanInterval);
  return {
    name,
    x: [...x],
    y: intervals.map(({ value }) => value),
    points: true,
    whiskers: { low: intervals.map(({ low }) => low), high: intervals.map(({ high }) => high) },
  };
}
