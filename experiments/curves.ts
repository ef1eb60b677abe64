import type { LineFigure } from "../backend/reports/figure.ts";

/** A measurement over training, ascending by step. */
export interface Curve {
  readonly steps: readonly number[];
  readonly values: readonly number[];
}

/** How many of the last measurements make the final value. */
const LAST = 3;

/** The value that training ends with: the mean of the last three measurements. */
export function finalValue({ values }: Curve): number {
  return mean(values.slice(-LAST));
}

/** Mean of numbers; NaN of none. */
export function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

/** Median of numbers; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Median of what there is; null of nothing. */
export function medianOf(values: readonly (number | undefined)[]): number | null {
  const known = values.filter((value) => value !== undefined);
  return known.length > 0 ? median(known) : null;
}

/**
 * The step at which a curve passes a level upwards for good: linear between measurements, and a single measurement above
 * it, with one below to follow, does not count.
 * @returns undefined when it never does
 */
export function crossing({ steps, values }: Curve, level: number): number | undefined {
  const last = values.length - 1;
  for (let i = 0; i <= last; i++) {
    if (values[i]! < level || values[Math.min(i + 1, last)]! < level) continue;
    if (i === 0) return steps[0]!;
    const [before, after] = [values[i - 1]!, values[i]!];
    const part = after === before ? 1 : Math.max(0, (level - before) / (after - before));
    return steps[i - 1]! + part * (steps[i]! - steps[i - 1]!);
  }
  return undefined;
}

/** When a curve makes its rise. */
export interface Rise {
  /** Where it starts from. */
  readonly base: number;
  readonly final: number;
  /** Steps at which a quarter, a half and three quarters of the rise are made; undefined where it does not rise so far. */
  readonly quarter: number | undefined;
  readonly half: number | undefined;
  readonly threeQuarters: number | undefined;
  /**
   * Steps from a quarter to three quarters, as a share of the step of the half: 1 for a steady rise from the first step,
   * 1.6 for an exponential approach, near 0 for a jump.
   */
  readonly width: number | undefined;
}

/** The rise of a curve to its final value. @param base where it starts from; default its first measurement */
export function rise(curve: Curve, base = curve.values[0] ?? Number.NaN): Rise {
  const final = finalValue(curve);
  const at = (part: number) => (final > base ? crossing(curve, base + part * (final - base)) : undefined);
  const [quarter, half, threeQuarters] = [at(0.25), at(0.5), at(0.75)];
  const known = quarter !== undefined && half !== undefined && half > 0 && threeQuarters !== undefined;
  return { base, final, quarter, half, threeQuarters, width: known ? (threeQuarters - quarter) / half : undefined };
}

/**
 * Whether one event comes before another: true or false where at least two measurements lie between them, undefined
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

/** A figure's line: the mean over runs, with a band from the lowest to the highest. @param curves of the same steps */
export function meanLine(name: string, curves: readonly Curve[]): LineFigure["lines"][number] {
  const { steps } = curves[0]!;
  const columns = steps.map((_, i) => curves.map(({ values }) => values[i]!));
  return {
    name,
    x: [...steps],
    y: columns.map(mean),
    ...(curves.length > 1
      ? { band: { low: columns.map((c) => Math.min(...c)), high: columns.map((c) => Math.max(...c)) } }
      : {}),
  };
}

/** "120 to 480" of steps that differ from run to run, "120" of one; "–" of none. */
export function spread(steps: readonly (number | undefined)[]): string {
  const known = steps.filter((step) => step !== undefined).map(Math.round);
  if (known.length === 0) return "–";
  const [low, high] = [Math.min(...known), Math.max(...known)];
  return low === high ? String(low) : `${low} to ${high}`;
}
