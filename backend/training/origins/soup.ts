/** Ways to choose the runs whose weights are averaged. */
export const SOUPS = ["uniform", "greedy"] as const;
export type SoupMethod = (typeof SOUPS)[number];

/** The element-wise mean of parameters [parameters] of one layout, summed in double precision. */
export function meanParameters(members: readonly Float32Array[]): Float32Array {
  const sums = new Float64Array(members[0]!.length);
  for (const member of members) for (let i = 0; i < sums.length; i++) sums[i]! += member[i]!;
  return Float32Array.from(sums, (sum) => sum / members.length);
}

/**
 * A greedy soup: from the best run on, each run in the order of its score joins where the mean with it scores at least as much as without.
 * @param members parameters of each run [parameters] @param score higher is better
 * @returns indices of those that are averaged, in the order in which they joined, and every run's own score
 * @see Wortsman et al. 2022, Model soups, recipe 1
 */
export function greedySoup(
  members: readonly Float32Array[],
  score: (parameters: Float32Array) => number,
): { chosen: number[]; scores: number[] } {
  const scores = members.map(score);
  const [best, ...others] = scores.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b);
  const chosen = [best!];
  let reached = scores[best!]!;
  for (const candidate of others) {
    const mixed = score(meanParameters([...chosen, candidate].map((i) => members[i]!)));
    if (mixed < reached) continue;
    chosen.push(candidate);
    reached = mixed;
  }
  return { chosen, scores };
}
