import type { ModelConfig } from "../../models/config.ts";
import type { ParameterPlace } from "../../models/weights/trainable.ts";
import type { ChangeParams, PRUNED } from "./parameters.ts";

/** Prunings between start and end where nothing is said. */
const PRUNINGS = 20;

/** A schedule of pruning, complete. */
export interface PruneSchedule {
  readonly structure: (typeof PRUNED)[number];
  /** Share that is gone from `end` on. */
  readonly sparsity: number;
  readonly start: number;
  readonly end: number;
  readonly every: number;
}

/** The schedule that parameters ask for, with what they leave open; undefined where nothing is pruned. */
export function pruneSchedule(params: ChangeParams & { readonly steps: number }): PruneSchedule | undefined {
  if (params.prune === undefined) return undefined;
  const { prune: structure, prune_sparsity: sparsity = 0.5, prune_start: start = 0, steps } = params;
  const end = params.prune_end ?? Math.max(start + 1, Math.ceil(steps / 2));
  const every = params.prune_every ?? Math.max(1, Math.round((end - start) / PRUNINGS));
  return { structure, sparsity, start, end, every };
}

/**
 * Share of the weights that is gone after the pruning of a step: sparsity · (1 - (1 - (t - start) / (end - start))³).
 * @see Zhu and Gupta 2017, To prune, or not to prune, equation 1, with an initial sparsity of 0
 */
export function sparsityAt({ sparsity, start, end }: PruneSchedule, step: number): number {
  const left = 1 - Math.min(1, Math.max(0, (step - start) / (end - start)));
  return sparsity * (1 - left ** 3);
}

/** Tells whether a step ends with a pruning: at start, each `every` steps from there, and at end. */
export function prunesAfter({ start, end, every }: PruneSchedule, step: number): boolean {
  return step >= start && step <= end && ((step - start) % every === 0 || step === end);
}

/** Indices of the smallest scores, of equal ones those before. @param count how many */
function smallest(scores: Float32Array, count: number): Uint32Array {
  const order = Uint32Array.from(scores, (_, i) => i);
  return order.sort((a, b) => scores[a]! - scores[b]! || a - b).subarray(0, count);
}

/**
 * A mask with the weights of smallest magnitude of each matrix taken away; what a mask has lost stays lost.
 * @param parameters [parameters] @param mask 1 for weights that are there, 0 for others [parameters]
 * @param matrices each loses round(share · size)
 */
export function pruneWeights(
  { parameters, mask }: { parameters: Float32Array; mask: Float32Array },
  matrices: readonly ParameterPlace[],
  share: number,
): Float32Array {
  const next = mask.slice();
  for (const { offset, size } of matrices) {
    const magnitudes = Float32Array.from({ length: size }, (_, i) =>
      mask[offset + i] === 0 ? -1 : Math.abs(parameters[offset + i]!),
    );
    for (const i of smallest(magnitudes, Math.round(share * size))) next[offset + i] = 0;
  }
  return next;
}

/** The attention of one layer: its projections [3 · heads · d_head, d_model] and its output [d_model, heads · d_head]. */
interface Attention {
  readonly qkv: ParameterPlace;
  readonly o: ParameterPlace;
}

/** The attention of every layer whose weights are among those that may change. */
export function attentionOf(places: readonly ParameterPlace[]): Attention[] {
  return places.flatMap((qkv) => {
    if (!qkv.name.endsWith("attn.qkv")) return [];
    const o = places.find(({ name }) => name === qkv.name.replace(/qkv$/, "o"));
    return o === undefined ? [] : [{ qkv, o }];
  });
}

/** Places in the vector of parameters of a head's queries, keys and values, one range each, and of its output's columns. */
function headRanges({ qkv, o }: Attention, { n_heads, d_head, d_model }: ModelConfig, head: number) {
  const rows = d_head * d_model;
  const [queries, keys, values] = [0, 1, 2].map((kind) => {
    const first = qkv.offset + (kind * n_heads + head) * rows;
    return [first, first + rows] as const;
  }) as [readonly [number, number], readonly [number, number], readonly [number, number]];
  const columns = Array.from({ length: d_model }, (_, row) => {
    const first = o.offset + (row * n_heads + head) * d_head;
    return [first, first + d_head] as const;
  });
  return { queries, keys, values, columns };
}

function norm(parameters: Float32Array, ranges: readonly (readonly [number, number])[]): number {
  let sum = 0;
  for (const [first, end] of ranges) for (let i = first; i < end; i++) sum += parameters[i]! ** 2;
  return Math.sqrt(sum);
}

/**
 * A mask with whole heads taken away, over all layers those with the smallest product of the norms of W_V and W_O, which bounds
 * what a head can write; what a mask has lost stays lost.
 * @param layers their attention @param share of all heads of these layers, rounded to whole heads
 */
export function pruneHeads(
  { parameters, mask }: { parameters: Float32Array; mask: Float32Array },
  { layers, config }: { layers: readonly Attention[]; config: ModelConfig },
  share: number,
): Float32Array {
  const heads = layers.flatMap((attention) =>
    Array.from({ length: config.n_heads }, (_, head) => headRanges(attention, config, head)),
  );
  const scores = Float32Array.from(heads, ({ values, columns }) =>
    mask[values[0]] === 0 ? -1 : norm(parameters, [values]) * norm(parameters, columns),
  );
  const next = mask.slice();
  for (const index of smallest(scores, Math.round(share * heads.length))) {
    const { queries, keys, values, columns } = heads[index]!;
    for (const [first, end] of [queries, keys, values, ...columns]) next.fill(0, first, end);
  }
  return next;
}
