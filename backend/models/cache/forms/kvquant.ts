import { type Turns, turnBack } from "./rotation.ts";

/** A page that is about to be coded, or whose numbers levels are learned of. */
export interface SampledPage {
  /** After the rotation [rows, d_head]; the values alike. */
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly positions: ArrayLike<number>;
  /** First rows that are in no vector. */
  readonly firstRows: number;
  /** Of each number, of the keys before the rotation; default all alike. */
  readonly weights?: { readonly keys: Float32Array; readonly values: Float32Array } | undefined;
}

/** Levels of a layer's keys before the rotation, and of its values [2^bits], ascending. */
export interface LayerLevels {
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

/** Numbers and their weights, where these are not all alike. */
interface Weighted {
  readonly numbers: Float32Array;
  readonly weights?: Float32Array | undefined;
}

/** Numbers of a vector that stay as they are at either end. @param share of all @param count of the vector's numbers */
export function outliersOf(share: number, count: number): number {
  return Math.ceil((share * count) / 2);
}

/** Bits of levels, and the settings of the vectors that they are learned of. */
interface LevelSettings {
  readonly bits: number;
  /** Share of each vector that stays as it is, half at either end. */
  readonly outliers: number;
  /** Rotation of the keys; default none. */
  readonly turns?: Turns | undefined;
}

/**
 * Levels for a layer's keys before the rotation and its values: k-means of the numbers between the outliers, moved and scaled to
 * [-1, 1] in each vector (a channel of a page's keys, a token's values), by their weights where the pages have any.
 */
export function learnLevels(pages: readonly SampledPage[], { bits, ...settings }: LevelSettings): LayerLevels {
  return levelsOf(scaledNumbers(pages, settings), bits);
}

/** Levels of 2^bits of numbers that are scaled already. */
export function levelsOf(scaled: Readonly<Record<keyof LayerLevels, Weighted>>, bits: number): LayerLevels {
  const levels = ({ numbers, weights }: Weighted) => Float32Array.from(weightedMeans(numbers, weights, 2 ** bits));
  return { keys: levels(scaled.keys), values: levels(scaled.values) };
}

/** The numbers of pages that levels are learned of, as `learnLevels` scales them; ascending where they have weights. */
export function scaledNumbers(
  pages: readonly SampledPage[],
  { outliers, turns }: Omit<LevelSettings, "bits">,
): Record<keyof LayerLevels, Weighted> {
  const [keys, values]: [Weighted[], Weighted[]] = [[], []];
  for (const { positions, firstRows, weights, ...page } of pages) {
    const rows = positions.length;
    const width = page.keys.length / rows;
    const own = page.keys.slice();
    if (turns) turnBack(own, positions, turns);
    const column = (of: Float32Array, i: number) =>
      Float32Array.from({ length: rows - firstRows }, (_, t) => of[(t + firstRows) * width + i]!);
    for (let i = 0; i < width; i++) keys.push(scaled(column(own, i), weights && column(weights.keys, i), outliers));
    const row = (of: Float32Array, t: number) => of.slice(t * width, (t + 1) * width);
    for (let t = firstRows; t < rows; t++)
      values.push(scaled(row(page.values, t), weights && row(weights.values, t), outliers));
  }
  return { keys: joined(keys), values: joined(values) };
}

function joined(parts: readonly Weighted[]): Weighted {
  const numbers = concatenated(parts.map((part) => part.numbers));
  if (parts[0]?.weights === undefined) return { numbers };
  return ascending(numbers, concatenated(parts.map((part) => part.weights!)));
}

function concatenated(arrays: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const array of arrays) {
    all.set(array, end);
    end += array.length;
  }
  return all;
}

function ascending(numbers: Float32Array, weights: Float32Array): Required<Weighted> {
  const order = Uint32Array.from(numbers.keys()).sort((a, b) => numbers[a]! - numbers[b]!);
  return {
    numbers: Float32Array.from(order, (i) => numbers[i]!),
    weights: Float32Array.from(order, (i) => weights[i]!),
  };
}

/** A vector's numbers between its outliers, moved and scaled to [-1, 1], ascending; none where they are all alike. */
function scaled(vector: Float32Array, weights: Float32Array | undefined, outliers: number): Weighted {
  const each = outliersOf(outliers, vector.length);
  const sorted: Weighted = weights ? ascending(vector, weights) : { numbers: vector.sort() };
  const inside = sorted.numbers.subarray(each, vector.length - each);
  const [low, high] = [inside[0]!, inside.at(-1)!];
  const [centre, scale] = [(low + high) / 2, (high - low) / 2];
  if (!(scale > 0)) return { numbers: new Float32Array(0), weights: weights && new Float32Array(0) };
  return {
    numbers: inside.map((x) => (x - centre) / scale),
    weights: sorted.weights?.subarray(each, vector.length - each),
  };
}

/** Rounds of k-means at most. */
const ROUNDS = 100;

/**
 * K-means of numbers by their weights: the first centres have equal weights around them; a number halfway belongs to the lower one, and
 * a centre without numbers stays.
 * @param weights default all alike @param count of centres @returns ascending; all 0 of no numbers
 */
export function weightedMeans(
  numbers: ArrayLike<number>,
  weights: ArrayLike<number> | undefined,
  count: number,
): number[] {
  const { length } = numbers;
  if (length === 0) return new Array<number>(count).fill(0);
  const order = weights
    ? Uint32Array.from({ length }, (_, i) => i).sort((a, b) => numbers[a]! - numbers[b]!)
    : undefined;
  const sorted = order ? Float64Array.from(order, (i) => numbers[i]!) : Float64Array.from(numbers).sort();
  // Sums of the weights, and of the weighted numbers, before each number.
  const [mass, moment] = [new Float64Array(length + 1), new Float64Array(length + 1)];
  for (let i = 0; i < length; i++) {
    const weight = order ? weights![order[i]!]! : 1;
    mass[i + 1] = mass[i]! + weight;
    moment[i + 1] = moment[i]! + weight * sorted[i]!;
  }
  const total = mass[length]!;
  const centres = Array.from(
    { length: count },
    (_, i) => sorted[firstWhere(length, (at) => mass[at + 1]! >= ((i + 0.5) / count) * total)]!,
  );
  let before = "";
  for (let round = 0; round < ROUNDS; round++) {
    const ends = centres.map((centre, i) => {
      const next = centres[i + 1];
      return next === undefined ? length : firstWhere(length, (at) => sorted[at]! > (centre + next) / 2);
    });
    const now = ends.join();
    if (now === before) break;
    before = now;
    ends.forEach((end, i) => {
      const first = ends[i - 1] ?? 0;
      const weight = mass[end]! - mass[first]!;
      if (end > first && weight > 0) centres[i] = (moment[end]! - moment[first]!) / weight;
    });
  }
  return centres;
}

/** The first index below `length` that a condition holds at, which then holds at all later ones; `length` where there is none. */
function firstWhere(length: number, holds: (index: number) => boolean): number {
  let [low, high] = [0, length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
