import type { Interval } from "../../common/api/circuits.ts";
import type { Random } from "../../common/random.ts";

/** Shares of the resamples below and above an interval. */
const TAILS = [0.025, 0.975] as const;

/** Draws with replacement from as many things as there are. @param count of the things @returns their places [resamples][count] */
export function resamplesOf(count: number, resamples: number, random: Random): number[][] {
  return Array.from({ length: resamples }, () => Array.from({ length: count }, () => random.integer(0, count)));
}

/**
 * A statistic with its 95 % interval over resamples (percentile bootstrap).
 * @param resamples places among the items; of a single item there is no interval
 * @see Efron 1979
 */
export function interval<T>(
  items: readonly T[],
  statistic: (items: readonly T[]) => number,
  resamples: readonly (readonly number[])[],
): Interval {
  const value = statistic(items);
  if (items.length < 2) return { value, low: null, high: null };
  const values = resamples.map((sample) => statistic(sample.map((place) => items[place]!))).filter(Number.isFinite);
  return { value, ...range(values) };
}

/** The range between a sample's 2.5 % and 97.5 % quantiles; null of none. */
export function range(values: readonly number[]): Pick<Interval, "low" | "high"> {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = TAILS.map((share) => sorted[Math.round(share * (sorted.length - 1))] ?? null);
  return { low: low!, high: high! };
}
