/** A place on an axis; without a label it is a short stroke between the labelled ones. */
export interface Tick {
  readonly value: number;
  readonly label?: string;
}

/** An axis: where values stand, and its ticks. */
export interface Scale {
  /** Smallest and largest value shown. */
  readonly domain: readonly [number, number];
  readonly ticks: readonly Tick[];
  /** Place of a value in pixels. */
  at(value: number): number;
}

/** Options of an axis. */
export interface AxisOptions {
  readonly log?: boolean | undefined;
  /** The axis ends where the data does; else a linear one ends at ticks. */
  readonly fixed?: boolean | undefined;
  /** Ticks stand at whole numbers only. */
  readonly whole?: boolean | undefined;
}

/** Labelled ticks that an axis has about. */
const WANTED = 6;

/**
 * An axis over a range of values, from one pixel to another.
 * @param extent of the data; a range of no width gets one
 * @throws RangeError for a logarithmic axis over values that are not above 0
 */
export function scale(
  extent: readonly [number, number],
  pixels: readonly [number, number],
  { log = false, fixed = false, whole = false }: AxisOptions = {},
): Scale {
  if (log && extent[0] <= 0) throw new RangeError(`a logarithmic axis cannot begin at ${extent[0]}`);
  const domain = log ? widenLog(extent) : fixed && extent[0] < extent[1] ? extent : roundOut(widen(extent));
  const place = (value: number) =>
    log ? Math.log(value / domain[0]) / Math.log(domain[1] / domain[0]) : (value - domain[0]) / (domain[1] - domain[0]);
  return {
    domain,
    ticks: log ? logTicks(domain) : linearTicks(domain, whole),
    at: (value) => pixels[0] + place(value) * (pixels[1] - pixels[0]),
  };
}

function widen([low, high]: readonly [number, number]): [number, number] {
  if (low < high) return [low, high];
  const half = low === 0 ? 0.5 : Math.abs(low) / 2;
  return [low - half, high + half];
}

function widenLog([low, high]: readonly [number, number]): [number, number] {
  return low < high ? [low, high] : [low / 2, high * 2];
}

function roundOut([low, high]: readonly [number, number]): [number, number] {
  const step = niceStep((high - low) / WANTED);
  // A value on a tick, but for rounding, needs no tick beyond it.
  return [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
}

/** The smallest of 1, 2, 5 times a power of ten that is not below `least`. */
export function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least) + 1e-12);
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= least * (1 - 1e-9)) ?? 10);
}

/** Ticks at multiples of 1, 2 or 5 times a power of ten. @param whole at whole numbers only */
export function linearTicks([low, high]: readonly [number, number], whole = false): Tick[] {
  const step = niceStep(Math.max(whole ? 1 : 0, (high - low) / WANTED));
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-12));
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, n) => {
    const value = Number(((first + n) * step).toFixed(Math.min(decimals, 20)));
    return { value, label: tickLabel(value, decimals) };
  });
}

/**
 * Ticks at powers of ten; over less than two of them also at 2 and 5 times, with strokes in between. Over so little that
 * these would be fewer than two, ticks as on a linear axis.
 */
export function logTicks([low, high]: readonly [number, number]): Tick[] {
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / 8));
  const labelled = decades < 1 ? [1, 2, 3, 4, 5, 6, 7, 8, 9] : decades < 2 ? [1, 2, 5] : [1];
  const ticks: Tick[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (let factor = 1; factor < 10; factor++) {
      const value = power < 0 ? factor / 10 ** -power : factor * 10 ** power;
      if (value < low * (1 - 1e-9) || value > high * (1 + 1e-9)) continue;
      const named = labelled.includes(factor) && power % every === 0;
      ticks.push(named ? { value, label: tickLabel(value, Math.max(0, -power)) } : { value });
    }
  }
  return ticks.filter(({ label }) => label !== undefined).length < 2 ? linearTicks([low, high]) : ticks;
}

/** A tick's number: "0.25", "1,500", "20k", "3M". @param decimals of the step between ticks */
function tickLabel(value: number, decimals: number): string {
  const size = Math.abs(value);
  if (size >= 1e6 && value % 1e5 === 0) return `${value / 1e6}M`;
  if (size >= 1e4 && value % 1e2 === 0) return `${value / 1e3}k`;
  if (decimals > 6 || size >= 1e9) return value.toExponential().replace("e+", "e");
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}
