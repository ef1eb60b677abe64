import type { Tensor } from "@tensorflow/tfjs";
import type { ModelConfig } from "../../backend/models/config.ts";
import type { Model } from "../../backend/models/model.ts";
import type { Window } from "../../backend/models/transformer/attention.ts";
import type { BlockWeights, NormWeights } from "../../backend/models/weights/block-parts.ts";

/** A row of numbers. */
export type Vector = number[];
/** Angles that one position adds to each pair of dimensions, and the factor on cosines and sines. */
export interface Waves {
  inverse: readonly number[];
  factor: number;
}

/** Results of the reference for one row of tokens. */
export interface Reference {
  /** [position][outputs] */
  logits: Vector[];
  /** [layer][head][query][key] */
  patterns: Vector[][][];
}

/** Sum of products. */
export const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};
/** Sum of two rows, or the first where there is no second. */
export const plus = (a: Vector, b: ArrayLike<number> | undefined): Vector => (b ? a.map((x, i) => x + b[i]!) : a);
/** A tensor as float64 numbers. */
export const data = (t: Tensor | undefined): Float64Array | undefined => t && Float64Array.from(t.dataSync());

/** x · Wᵀ with W [out, in]. */
export function apply(matrix: { widen(): Tensor }, x: readonly Vector[]): Vector[] {
  const w = matrix.widen();
  const values = data(w)!;
  const [out, width] = w.shape as [number, number];
  const rows = Array.from({ length: out }, (_, o) => values.subarray(o * width, (o + 1) * width));
  return x.map((v) => rows.map((row) => dot(v, row)));
}

/** A normalisation as the config has it. */
export function norm(x: Vector, weights: NormWeights | undefined, config: ModelConfig): Vector {
  if (!weights || config.normalization_type === null) return x;
  const [w, b] = [data(weights.w)!, data(weights.b)];
  const mean = config.normalization_type === "LN" ? x.reduce((s, v) => s + v, 0) / x.length : 0;
  const centred = x.map((v) => v - mean);
  const scale = Math.sqrt(dot(centred, centred) / x.length + config.eps);
  return plus(
    centred.map((v, i) => (v / scale) * w[i]!),
    b,
  );
}

/** RMS norm of one row. */
export function rms(x: Vector, w: Float64Array | undefined, eps: number): Vector {
  if (!w) return x;
  const scale = Math.sqrt(dot(x, x) / x.length + eps);
  return x.map((v, i) => (v / scale) * w[i]!);
}

/** cap * tanh(x / cap). */
export const cap = (x: number, by: number | undefined): number => (by === undefined ? x : by * Math.tanh(x / by));

/** The error function by its Taylor series, in which the terms of a number below 6 leave 1e-7 at the most. */
function erf(x: number): number {
  if (Math.abs(x) > 5) return Math.sign(x);
  let [term, sum] = [x, x];
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

function act(x: number, name: ModelConfig["act_fn"]): number {
  const logistic = (v: number): number => 1 / (1 + Math.exp(-v));
  if (name === "relu") return Math.max(0, x);
  if (name === "silu") return x * logistic(x);
  if (name === "quick_gelu") return x * logistic(1.702 * x);
  if (name === "gelu") return 0.5 * x * (1 + erf(x * Math.SQRT1_2));
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

/** Rotates the first 2 * waves dimensions; pair i is (i, i + number of waves). */
export function rotated(x: Vector, position: number, { inverse, factor }: Waves): Vector {
  const out = [...x];
  const half = inverse.length;
  inverse.forEach((wave, i) => {
    const [c, s] = [Math.cos(position * wave) * factor, Math.sin(position * wave) * factor];
    out[i] = x[i]! * c - x[i + half]! * s;
    out[i + half] = x[i + half]! * c + x[i]! * s;
  });
  return out;
}

/** Facts that the test states of a layer: the waves of its rotation, its window if it is local, and windows of its KV heads. */
export interface LayerFacts {
  waves?: Waves | undefined;
  local?: number | undefined;
  windows?: readonly (Window | undefined)[] | undefined;
}

function attention(
  x: Vector[],
  block: BlockWeights,
  config: ModelConfig,
  facts: LayerFacts,
): { out: Vector[]; patterns: Vector[][] } {
  const { n_heads: H, n_key_value_heads: G, d_head: D, qk_norm, eps } = config;
  const { waves, local, windows } = facts;
  const input = x.map((v) => norm(v, block.ln1, config));
  const qkv = apply(block.qkv, input).map((row) => plus(row, data(block.qkvBias)));
  const heads = (
    row: Vector,
    first: number,
    count: number,
    w: Float64Array | undefined,
    position: number,
  ): Vector[] => {
    const part = row.slice(first * D, (first + count) * D);
    const whole = qk_norm === "all" ? rms(part, w, eps) : part;
    return Array.from({ length: count }, (_, h) => {
      const own = whole.slice(h * D, (h + 1) * D);
      const normed = qk_norm === "head" ? rms(own, w, eps) : own;
      return waves ? rotated(normed, position, waves) : normed;
    });
  };
  const q = qkv.map((row, t) => heads(row, 0, H, data(block.qNorm), t));
  const k = qkv.map((row, t) => heads(row, H, G, data(block.kNorm), t));
  const v = qkv.map((row) => Array.from({ length: G }, (_, g) => row.slice((H + G + g) * D, (H + G + g + 1) * D)));
  const patterns = Array.from({ length: H }, (_, h) => {
    const g = Math.floor(h / (H / G));
    return x.map((_, i) => {
      const reaches = (j: number): boolean =>
        j <= i &&
        (local === undefined || i - j < local) &&
        (!windows?.[g] || i - j < windows[g].recent || j < windows[g].sink);
      const scores = Array.from({ length: x.length }, (_, j) =>
        reaches(j) ? cap(dot(q[i]![h]!, k[j]![g]!) * config.attn_scale, config.attn_scores_soft_cap) : -Infinity,
      );
      const top = Math.max(...scores);
      const raised = scores.map((s) => Math.exp(s - top));
      const sum = raised.reduce((a, b) => a + b, 0);
      return raised.map((e) => e / sum);
    });
  });
  const z = x.map((_, i) =>
    patterns.flatMap((pattern, h) => {
      const g = Math.floor(h / (H / G));
      const out = new Array<number>(D).fill(0);
      pattern[i]!.forEach((p, j) => {
        if (p > 0) for (let d = 0; d < D; d++) out[d]! += p * v[j]![g]![d]!;
      });
      return out;
    }),
  );
  const out = apply(block.o, z).map((row) => norm(plus(row, data(block.oBias)), block.ln1Post, config));
  return { out, patterns };
}

/** What an MLP adds to the stream, behind a norm that follows it. */
export function mlp(x: Vector[], block: BlockWeights, config: ModelConfig): Vector[] {
  const { d_mlp, gated_mlp, act_fn } = config;
  const input = x.map((v) => norm(v, block.ln2, config));
  const hidden = apply(block.mlpIn!, input)
    .map((row) => plus(row, data(block.mlpInBias)))
    .map((row) => row.slice(0, d_mlp).map((u, i) => act(u, act_fn) * (gated_mlp ? row[d_mlp + i]! : 1)));
  return apply(block.mlpOut!, hidden).map((row) => norm(plus(row, data(block.mlpOutBias)), block.ln2Post, config));
}

/**
 * A transformer in plain float64 arithmetic, written from the papers' formulas without the engine's code.
 * @param facts by layer, what the test derives itself: rotation and windows
 */
export function reference(model: Model, tokens: readonly number[], facts: (layer: number) => LayerFacts): Reference {
  const { config, weights } = model;
  const embed = data(weights.embed.widen())!;
  const place = data(weights.posEmbed?.widen());
  const row = (values: Float64Array, i: number): Vector => [
    ...values.subarray(i * config.d_model, (i + 1) * config.d_model),
  ];
  let x = tokens.map((id, t) =>
    plus(
      row(embed, id).map((v) => v * (config.embed_scale ?? 1)),
      place && row(place, t),
    ),
  );
  const patterns: Vector[][][] = [];
  weights.blocks.forEach((block, l) => {
    const attended = attention(x, block, config, facts(l));
    patterns.push(attended.patterns);
    const middle = x.map((v, t) => plus(v, attended.out[t]!));
    const written = config.attn_only ? undefined : mlp(config.parallel_attn_mlp ? x : middle, block, config);
    x = middle.map((v, t) => plus(v, written?.[t]));
  });
  const last = x.map((v) => norm(v, weights.lnFinal, config));
  const logits = apply(weights.unembed, last).map((out) =>
    plus(out, data(weights.unembedBias)).map((u) => cap(u, config.output_logits_soft_cap)),
  );
  return { logits, patterns };
}
