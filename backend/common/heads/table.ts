import type { Head, HeadShape } from "./head.ts";

/** Values of heads, a row a layer: [layers, heads] or [layers, kvHeads]. */
export type HeadTable = readonly (readonly number[])[];

/** A head with its score. */
export interface RankedHead extends Head {
  readonly value: number;
  /** Its place in the order, from 1 for the highest, which is no other head's. */
  readonly rank: number;
}

/** All heads of a table, highest first; equal scores in the order of layer, then head; what is no number comes last. */
export function rankTable(values: HeadTable): RankedHead[] {
  const height = (value: number): number => (Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value);
  return values
    .flatMap((row, layer) => row.map((value, head) => ({ layer, head, value })))
    .sort((a, b) => (height(a.value) === height(b.value) ? 0 : height(b.value) - height(a.value)))
    .map((entry, i) => ({ ...entry, rank: i + 1 }));
}

/**
 * Scores of KV heads from those of query heads: the maximum over each group, since a KV head must serve all of it.
 * @param values [layers, heads]
 * @returns [layers, kvHeads]
 */
export function toKvHeads(values: HeadTable, { heads, kvHeads }: Pick<HeadShape, "heads" | "kvHeads">): number[][] {
  const group = heads / kvHeads;
  return values.map((row) =>
    Array.from({ length: kvHeads }, (_, kv) => Math.max(...row.slice(kv * group, (kv + 1) * group))),
  );
}

/** Spearman's correlation; null of fewer than two values, or where one side is all the same. */
export function rankCorrelation(x: readonly number[], y: readonly number[]): number | null {
  const [a, b] = [ranks(x), ranks(y)];
  const middle = (x.length - 1) / 2;
  const along = (p: readonly number[], q: readonly number[]): number =>
    p.reduce((sum, rank, i) => sum + (rank - middle) * (q[i]! - middle), 0);
  const scale = Math.sqrt(along(a, a) * along(b, b));
  return x.length < 2 || scale === 0 ? null : along(a, b) / scale;
}

/** Ranks from 0; equal values share the mean of theirs. */
function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).toSorted((i, j) => values[i]! - values[j]!);
  const result = new Array<number>(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let i = start; i < end; i++) result[order[i]!] = (start + end - 1) / 2;
    start = end;
  }
  return result;
}
