import type { Random } from "../random.ts";

/** Sums of the first 1, 2, … weights [weights]. */
export function runningSums(weights: Float64Array): Float64Array {
  let sum = 0;
  return weights.map((weight) => {
    sum += weight;
    return sum;
  });
}

/** Draws an index with chances as the steps of running sums: the first whose sum exceeds a uniform share of the last. */
export function drawIndex(sums: Float64Array, random: Random): number {
  const target = random.uniform() * sums.at(-1)!;
  let [low, high] = [0, sums.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sums[middle]! > target) high = middle;
    else low = middle + 1;
  }
  return low;
}
