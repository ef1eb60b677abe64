import { mean } from "./numerics/averages.ts";

/** A measurement over training, ascending by step. */
export interface Curve {
  readonly steps: readonly number[];
  readonly values: readonly number[];
}

/** Number of the last measurements that make the final value. */
const LAST = 3;

/** The value that training ends with: the mean of the last three measurements. */
export function finalValue({ values }: Curve): number {
  return mean(values.slice(-LAST));
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
  /** Value that it starts from. */
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
  const complete = quarter !== undefined && half !== undefined && half > 0 && threeQuarters !== undefined;
  return { base, final, quarter, half, threeQuarters, width: complete ? (threeQuarters - quarter) / half : undefined };
}

/** Least rise of a share that counts as one: less is noise about chance. */
const LEAST_RISE = 0.1;

/**
 * The step at which an ability or a score has formed: where its curve has made half of its rise for good, rounded.
 * @param curve of an accuracy or a score, both shares; values that are no numbers are passed over
 * @returns undefined where it rises by less than a tenth
 */
export function halfOfRise({
  steps,
  values,
}: {
  steps: readonly number[];
  values: readonly (number | null)[];
}): number | undefined {
  const measured = values.flatMap((value, i) =>
    value !== null && Number.isFinite(value) ? [[steps[i]!, value] as const] : [],
  );
  const { base, final, half } = rise({
    steps: measured.map(([step]) => step),
    values: measured.map(([, value]) => value),
  });
  return half !== undefined && final - base >= LEAST_RISE ? Math.round(half) : undefined;
}
