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
