/** Rows of numbers, one an item. */
export type Vectors = readonly ArrayLike<number>[];

/**
 * The nearest other items of each by cosine similarity, nearest first; of equal ones the later comes first, as in the authors' code.
 * @param vectors [items][width] @param count of neighbours
 */
export function nearest(vectors: Vectors, count: number): number[][] {
  const norms = vectors.map((v) => Math.sqrt(dot(v, v)));
  return vectors.map((v, i) => {
    const similarity = vectors.map((w, j) => (i === j ? 0 : dot(v, w) / (norms[i]! * norms[j]!)));
    return vectors
      .map((_, j) => j)
      .filter((j) => j !== i)
      .sort((a, b) => similarity[b]! - similarity[a]! || b - a)
      .slice(0, count);
  });
}

/**
 * Kernel alignment: the mean share of the nearest neighbours that two representations of the same items have in common. Unrelated
 * representations have neighbours / (items - 1).
 * @see Huh et al. 2024, The Platonic Representation Hypothesis (mutual nearest neighbours); Cho et al. 2025, whose code it follows
 */
export function kernelAlignment(first: readonly number[][], second: readonly number[][]): number {
  const shares = first.map((own, i) => own.filter((j) => second[i]!.includes(j)).length / own.length);
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

/** Mean share of the nearest neighbours that have an item's own label. */
export function labelShare(neighbours: readonly number[][], labels: readonly number[]): number {
  const shares = neighbours.map((own, i) => own.filter((j) => labels[j] === labels[i]).length / own.length);
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

/** `labelShare` of neighbours that know nothing of labels. */
export function evenLabelShare(labels: readonly number[]): number {
  const same = labels.map((label) => labels.filter((each) => each === label).length - 1);
  return same.reduce((sum, count) => sum + count, 0) / (labels.length * (labels.length - 1));
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
