import type { Tensor } from "@tensorflow/tfjs";
import type { Model } from "../../models/model.ts";
import type { BlockWeights } from "../../models/weights/block-parts.ts";
import { Matrix } from "../../models/weights/matrix.ts";
import { gatherRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";

/** A model whose query heads have keys and values of their own in one layer; the tensors of that layer are its caller's to free. */
export interface Ungrouped {
  /** Runs this layer alone: its config is that of a model without groups. */
  readonly model: Model;
  dispose(): void;
}

/**
 * A layer of a model with grouped queries in which every query head has its own copy of the keys and values that it reads: what it
 * computes is the same, and the inputs of k and v can differ from head to head. A norm over the keys of all heads is then taken
 * over the copies.
 */
export function ungroup(model: Model, layer: number): Ungrouped {
  const { n_heads: H, n_key_value_heads: G, d_head: D, qk_norm } = model.config;
  const { qkv, qkvBias, kNorm, ...rest } = model.weights.blocks[layer]!;
  // Rows of queries, then of keys, then of values, each a head after the other.
  const heads = Array.from({ length: H }, (_, h) => h);
  const copies = heads.map((h) => Math.floor((h * G) / H));
  const rows = [...heads, ...copies.map((g) => H + g), ...copies.map((g) => H + G + g)];
  const pick = (t: Tensor, from: readonly number[]): Tensor => {
    const index = from.flatMap((head) => Array.from({ length: D }, (_, d) => head * D + d));
    return gatherRows(t, tf.tensor1d(index, "int32"));
  };
  const made = tf.tidy(() => ({
    qkv: pick(qkv.widen(), rows),
    ...(qkvBias ? { qkvBias: pick(qkvBias, rows) } : {}),
    ...(kNorm && qk_norm === "all" ? { kNorm: pick(kNorm, copies) } : {}),
  }));
  const block: BlockWeights = {
    ...rest,
    ...(qkvBias ? { qkvBias } : {}),
    ...(kNorm ? { kNorm } : {}),
    ...made,
    qkv: Matrix.dense(made.qkv),
  };
  const weights = { ...model.weights, blocks: model.weights.blocks.with(layer, block) };
  return {
    model: model.with({ config: { ...model.config, n_key_value_heads: H }, weights }),
    dispose: () => tf.dispose(made),
  };
}
