import { type Turns, turnBack } from "./rotation.ts";

/** A page that is about to be coded. */
export interface SampledPage {
  /** After the rotation [rows, d_head]; the values alike. */
  readonly keys: Float32Array;
  readonly values: Float32Array;
  readonly positions: ArrayLike<number>;
  /** First rows that are in no vector. */
  readonly firstRows: number;
}

/** Numbers of a vector that stay as they are at either end. @param share of all @param count of the vector's numbers */
export function outliersOf(share: number, count: number): number {
  return Math.ceil((share * count) / 2);
}

/**
 * Levels for a layer's keys before the rotation and its values: k-means of the numbers between the outliers, moved and scaled to
 * [-1, 1] in each vector (a channel of a page's keys, a token's values).
 */
export function learnLevels(
  pages: readonly SampledPage[],
  { bits, outliers, turns }: { bits: number; outliers: number; turns?: Turns | undefined },
): { keys: Float32Array; values: Float32Array } {
  const [keys, values]: [Float32Array[], Float32Array[]] = [[], []];
  for (const page of pages) {
    const rows = page.positions.length;
    const width = page.keys.length / rows;
    const own = page.keys.slice();
    if (turns) turnBack(own, page.positions, turns);
    const column = (i: number) => Float32Array.from({ length: rows - page.firstRows }, (_, t) => own[(t + page.firstRows) * width + i]!); // biome-ignore format: one call
    for (let i = 0; i < width; i++) keys.push(normalised(column(i), outliers));
    for (let t = page.firstRows; t < rows; t++)
      values.push(normalised(page.values.slice(t * width, (t + 1) * width), outliers));
  }
  const levels = (vectors: Float32Array[]) => Float32Array.from(weightedMeans(joined(vectors), undefined, 2 ** bits));
  return { keys: levels(keys), values: levels(values) };
}

function joined(vectors: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(vectors.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const vector of vectors) {
    all.set(vector, end);
    end += vector.length;
  }
  return all;
}

/** A vector's numbers between its outliers, moved and scaled to [-1, 1], ascending; none where they are all alike. */
function normalised(vector: Float32Array, outliers: number): Float32Array {
  const each = outliersOf(outliers, vector.length);
  const inside = vector.sort().subarray(each, vector.length - each);
  const [low, high] = [inside[0]!, inside.at(-1)!];
  const [centre, scale] = [(low + high) / 2, (high - low) / 2];
  return scale > 0 ? inside.map((x) => (x - centre) / scale) : new Float32Array(0);
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
