import { Random } from "../../backend/common/random.ts";
import type { ModelConfig } from "../../backend/models/config.ts";
import { Model } from "../../backend/models/model.ts";
import type { BlockWeights, NormWeights } from "../../backend/models/weights/block-parts.ts";
import { Matrix } from "../../backend/models/weights/matrix.ts";
import { tf } from "../../backend/runtime/tf.ts";

/** A small Llama-shaped config: 3 layers, 6 query heads on 2 key-value heads. */
export function smallConfig(changes: Partial<ModelConfig> = {}): ModelConfig {
  const base: ModelConfig = {
    n_layers: 3, n_heads: 6, n_key_value_heads: 2, d_model: 48, d_head: 8, d_mlp: 64, n_ctx: 1200, d_vocab: 96,
    act_fn: "silu", gated_mlp: true, attn_only: false, normalization_type: "RMS", eps: 1e-5, final_norm: true,
    positional_embedding_type: "rotary", rotary_base: 10000, rotary_dim: 8, tie_word_embeddings: true, attn_scale: 1 / Math.sqrt(8),
  }; // biome-ignore format: a table
  return { ...base, ...changes };
}

/** A model of this config with seeded random weights, large enough that attention is far from uniform. */
export function randomModel(config: ModelConfig, seed = 1): Model {
  const random = new Random(seed);
  const values = (n: number, scale: number, mean = 0): Float32Array =>
    Float32Array.from({ length: n }, () => mean + scale * random.normal());
  const matrix = (out: number, width: number, gain = 1.5): Matrix =>
    Matrix.fromValues(values(out * width, gain / Math.sqrt(width)), [out, width]);
  const norm = (): NormWeights => ({
    w: tf.tensor1d(values(config.d_model, 0.2, 1)),
    ...(config.normalization_type === "LN" ? { b: tf.tensor1d(values(config.d_model, 0.2)) } : {}),
  });
  const { n_heads: H, n_key_value_heads: G, d_head: D, d_model, d_mlp, d_vocab } = config;
  const blocks = Array.from({ length: config.n_layers }, (): BlockWeights => {
    const placement = config.normalization_type === null ? "none" : (config.norm_placement ?? "pre");
    const [before, after] = [placement === "pre" || placement === "both", placement === "post" || placement === "both"];
    const scales = (heads: number) => tf.tensor1d(values(config.qk_norm === "all" ? heads * D : D, 0.2, 1.5));
    const attention = {
      ...(before ? { ln1: norm() } : {}),
      qkv: matrix((H + 2 * G) * D, d_model, 2.5),
      ...(config.qk_norm ? { qNorm: scales(H), kNorm: scales(G) } : {}),
      o: matrix(d_model, H * D),
      ...(after ? { ln1Post: norm() } : {}),
    };
    if (config.attn_only) return attention;
    return {
      ...attention,
      ...(before ? { ln2: norm() } : {}),
      ...(after ? { ln2Post: norm() } : {}),
      mlpIn: matrix(config.gated_mlp ? 2 * d_mlp : d_mlp, d_model),
      mlpOut: matrix(d_model, d_mlp),
    };
  });
  const embed = matrix(d_vocab, d_model, Math.sqrt(d_model));
  return new Model({
    ref: "random",
    family: "llama",
    digest: `sha256:${"0".repeat(63)}${seed}`,
    config,
    weights: {
      embed,
      ...(config.positional_embedding_type === "standard"
        ? { posEmbed: matrix(config.n_ctx, d_model, Math.sqrt(d_model)) }
        : {}),
      blocks,
      ...(config.final_norm && config.normalization_type ? { lnFinal: norm() } : {}),
      unembed: config.tie_word_embeddings ? embed : matrix(d_vocab, d_model),
    },
  });
}

/** Seeded rows of token ids. */
export function randomTokens(rows: number, length: number, d_vocab: number, seed = 7): number[][] {
  const random = new Random(seed);
  return Array.from({ length: rows }, () => Array.from({ length }, () => random.integer(0, d_vocab)));
}

/** Largest absolute difference of two tensors of one shape. */
export function maxDifference(
  a: { dataSync(): ArrayLike<number>; shape: number[] },
  b: { dataSync(): ArrayLike<number>; shape: number[] },
): number {
  if (a.shape.join() !== b.shape.join()) throw new Error(`shapes differ: ${a.shape} and ${b.shape}`);
  const [x, y] = [a.dataSync(), b.dataSync()];
  let worst = 0;
  for (let i = 0; i < x.length; i++) worst = Math.max(worst, Math.abs(x[i]! - y[i]!));
  return worst;
}
