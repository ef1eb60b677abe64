/** Pearson's statistic of counts against expected counts. */
export function chiSquare(counts: readonly number[], expected: readonly number[]): number {
  return counts.reduce((sum, count, i) => sum + (count - expected[i]!) ** 2 / expected[i]!, 0);
}

/**
 * Limit that chi-square exceeds in about one of 30,000 draws that follow the expected counts (Wilson and Hilferty's approximation at
 * four standard deviations).
 */
export function chiSquareLimit(freedom: number): number {
  const k = 2 / (9 * freedom);
  return freedom * (1 - k + 4 * Math.sqrt(k)) ** 3;
}

/** Counts how often each of 0 … n - 1 occurs. */
export function histogram(values: Iterable<number>, n: number): number[] {
  const counts = Array<number>(n).fill(0);
  for (const value of values) counts[value]!++;
  return counts;
}

/** Chi-square of values that should be uniform on 0 … n - 1, as a share of its limit: below 1 when they are. */
export function unevenness(values: readonly number[], n: number): number {
  const expected = Array<number>(n).fill(values.length / n);
  return chiSquare(histogram(values, n), expected) / chiSquareLimit(n - 1);
}

/** Weighted least squares: the slope of y over x and its standard error, where y has variance 1 / weight. */
export function slope(x: readonly number[], y: readonly number[], weight: readonly number[]): [number, number] {
  const sum = (of: (i: number) => number): number => x.reduce((total, _, i) => total + weight[i]! * of(i), 0);
  const all = sum(() => 1);
  const [mx, my] = [sum((i) => x[i]!) / all, sum((i) => y[i]!) / all];
  const spread = sum((i) => (x[i]! - mx) ** 2);
  return [sum((i) => (x[i]! - mx) * (y[i]! - my)) / spread, 1 / Math.sqrt(spread)];
}
