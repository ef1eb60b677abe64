import type { Random } from "../../common/random.ts";

/** Rounds of k-means at most. */
const ROUNDS = 50;

/**
 * Clusters of vectors by k-means (Lloyd 1982), whose first centres are drawn by their squared distance from those before them
 * (k-means++, Arthur and Vassilvitskii 2007). A cluster that loses all its vectors keeps its centre.
 * @param vectors [count, width], at least `clusters` of them
 * @returns the cluster of each vector [count], and the mean squared distance from their centres
 */
export function kMeans(
  vectors: Float32Array,
  width: number,
  clusters: number,
  random: Random,
): { assigned: Int32Array; spread: number } {
  const count = vectors.length / width;
  const row = (i: number): Float32Array => vectors.subarray(i * width, (i + 1) * width);
  const centres = firstCentres(row, { count, clusters }, random);
  const assigned = new Int32Array(count).fill(-1);
  let spread = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let changed = false;
    spread = 0;
    for (let i = 0; i < count; i++) {
      const { place, distance } = nearest(row(i), centres);
      changed ||= assigned[i] !== place;
      assigned[i] = place;
      spread += distance / count;
    }
    if (!changed) break;
    moveCentres(centres, assigned, row);
  }
  return { assigned, spread };
}

function firstCentres(
  row: (i: number) => Float32Array,
  { count, clusters }: { count: number; clusters: number },
  random: Random,
): Float64Array[] {
  const centres = [Float64Array.from(row(random.integer(0, count)))];
  const distances = Float64Array.from({ length: count }, (_, i) => squared(row(i), centres[0]!));
  while (centres.length < clusters) {
    let left = random.uniform() * distances.reduce((sum, distance) => sum + distance, 0);
    let drawn = distances.findIndex((distance) => {
      left -= distance;
      return left < 0;
    });
    if (drawn < 0) drawn = random.integer(0, count); // all vectors are centres already
    const centre = Float64Array.from(row(drawn));
    centres.push(centre);
    for (let i = 0; i < count; i++) distances[i] = Math.min(distances[i]!, squared(row(i), centre));
  }
  return centres;
}

function moveCentres(centres: Float64Array[], assigned: Int32Array, row: (i: number) => Float32Array): void {
  const sums = centres.map((centre) => new Float64Array(centre.length));
  const sizes = new Int32Array(centres.length);
  assigned.forEach((cluster, i) => {
    sizes[cluster]!++;
    const sum = sums[cluster]!;
    row(i).forEach((value, d) => {
      sum[d]! += value;
    });
  });
  sums.forEach((sum, c) => {
    if (sizes[c]! > 0) centres[c] = sum.map((value) => value / sizes[c]!);
  });
}

function nearest(vector: Float32Array, centres: readonly Float64Array[]): { place: number; distance: number } {
  let place = 0;
  let distance = Number.POSITIVE_INFINITY;
  centres.forEach((centre, c) => {
    const own = squared(vector, centre);
    if (own < distance) [place, distance] = [c, own];
  });
  return { place, distance };
}

function squared(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return sum;
}
