/** Spread of values over the colour scale. */
export const CONTRASTS = ["linear", "arcsinh", "log"] as const;
export type Contrast = (typeof CONTRASTS)[number];

/** The log scale ends this far below the highest value; what lies lower has the lowest colour. */
const LOG_DECADES = 4;

/** A colour scale's ends, and what a usual value is. */
export interface ContrastScale {
  readonly low: number;
  readonly high: number;
  /** The value at which the arcsinh scale turns from straight to logarithmic: the median of the values that are not masked. */
  readonly knee: number;
}

/**
 * The function that places a value on the colour scale, from 0 to 1.
 * Linear: (v - low) / (high - low). Arcsinh: the same of asinh(v / knee), which is straight up to about the knee and
 * logarithmic after it. Log: LOG_DECADES decades up to `high`.
 */
export function place(contrast: Contrast, { low, high, knee }: ContrastScale): (value: number) => number {
  const bend = {
    linear: (value: number) => value,
    arcsinh: (value: number) => Math.asinh(value / knee),
    log: (value: number) => Math.log10(Math.max(value, high * 10 ** -LOG_DECADES)),
  }[contrast];
  const [from, to] = [bend(low), bend(high)];
  return to > from ? (value) => Math.min(1, Math.max(0, (bend(value) - from) / (to - from))) : () => 0;
}

/**
 * The scale for a causal pattern: from 0 to `high`, or to the largest value.
 * @param pattern [queries, keys]; keys after the query are masked and not looked at
 */
export function contrastScale(pattern: Float32Array, queries: number, keys: number, high?: number): ContrastScale {
  const sample: number[] = [];
  const step = Math.max(1, Math.floor((queries * keys) / 2 / 5000)) | 1;
  let [seen, largest] = [0, 0];
  for (let query = 0; query < queries; query++)
    for (let key = 0, last = query + keys - queries; key <= last; key++) {
      const value = pattern[query * keys + key]!;
      if (value > largest) largest = value;
      if (seen++ % step === 0) sample.push(value);
    }
  sample.sort((a, b) => a - b);
  const top = high ?? (largest || 1);
  return { low: 0, high: top, knee: Math.max(sample[sample.length >> 1] ?? 0, top * 1e-4) };
}

/** Values for the ticks of a colour bar, ascending, far enough from each other to be written. */
export function ticks(contrast: Contrast, scale: ContrastScale): number[] {
  const { low, high } = scale;
  if (contrast === "linear") return [low, (low + high) / 2, high];
  const at = place(contrast, scale);
  const apart: number[] = [high];
  for (const value of [0.1, 0.01, 0.001].map((part) => part * high))
    if (value > low && at(apart[0]!) - at(value) > 0.2) apart.unshift(value);
  return at(low) === 0 && at(apart[0]!) > 0.2 ? [low, ...apart] : apart;
}
