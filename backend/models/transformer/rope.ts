import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig, RotaryScaling } from "../config.ts";

/** Cosines and sines of positions [length, rotary_dim], each half of a row alike. */
export interface RotaryTables {
  cos: Tensor;
  sin: Tensor;
}

/** Every step is rounded to float32, as PyTorch computes. */
const f = Math.fround;

/**
 * Angles that one position adds to each pair of dimensions [dim / 2], and the factor on cosines and sines.
 * @param dim rotated dimensions of a head
 * @see Su et al. 2021, RoFormer; Peng et al. 2023, YaRN; Hugging Face's modeling_rope_utils for Llama 3's bands
 */
export function rotaryFrequencies(
  dim: number,
  base: number,
  scaling?: RotaryScaling,
): { inverse: number[]; factor: number } {
  const periods = Array.from({ length: dim / 2 }, (_, i) => f(base ** f((2 * i) / dim)));
  const inverse = periods.map((period) => f(1 / period));
  switch (scaling?.type) {
    case undefined:
      return { inverse, factor: 1 };
    case "linear":
      return { inverse: inverse.map((w) => f(w / scaling.factor)), factor: 1 };
    case "factors":
      return {
        inverse: periods.map((period, i) => f(1 / f(f(scaling.factors[i]!) * period))),
        factor: scaling.attention_factor ?? 1,
      };
    case "llama3":
      return { inverse: inverse.map((w) => llama3(w, scaling)), factor: 1 };
    case "yarn":
      return { inverse: yarn(periods, dim, base, scaling), factor: yarnAttentionFactor(scaling) };
  }
}

/** Long waves are stretched by the whole factor, short ones not at all, those between in proportion. */
function llama3(w: number, scaling: Extract<RotaryScaling, { type: "llama3" }>): number {
  const { factor, low_freq_factor: low, high_freq_factor: high, original_context } = scaling;
  const wave = f((2 * Math.PI) / w);
  const stretched = f(w / factor);
  if (wave > original_context / low) return stretched;
  if (wave < original_context / high) return w;
  const share = f(f(f(original_context / wave) - low) / (high - low));
  return f(f(f(1 - share) * stretched) + f(share * w));
}

/** Frequencies that turn more than beta_fast times over the original context are kept, below beta_slow stretched, a ramp between. */
function yarn(
  periods: readonly number[],
  dim: number,
  base: number,
  scaling: Extract<RotaryScaling, { type: "yarn" }>,
): number[] {
  const { factor, original_context, beta_fast = 32, beta_slow = 1, truncate = true } = scaling;
  const dimensionOf = (turns: number): number =>
    (dim * Math.log(original_context / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const [fast, slow] = [dimensionOf(beta_fast), dimensionOf(beta_slow)];
  const low = Math.max(truncate ? Math.floor(fast) : fast, 0);
  const end = Math.min(truncate ? Math.ceil(slow) : slow, dim - 1);
  const high = end === low ? end + 0.001 : end;
  return periods.map((period, i) => {
    const stretch = Math.min(1, Math.max(0, f(f(i - low) / f(high - low))));
    const share = f(1 - stretch);
    return f(f(f(1 / f(factor * period)) * f(1 - share)) + f(f(1 / period) * share));
  });
}

function yarnAttentionFactor(scaling: Extract<RotaryScaling, { type: "yarn" }>): number {
  const { factor, attention_factor, mscale, mscale_all_dim } = scaling;
  const scaleOf = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  if (attention_factor !== undefined) return attention_factor;
  return mscale && mscale_all_dim ? scaleOf(mscale) / scaleOf(mscale_all_dim) : scaleOf(1);
}

/**
 * Rotary tables of the positions 0 … length - 1, which the caller disposes. Angles are rounded to float32 as PyTorch does:
 * at position 8,000 one computed in float64 differs from that by more than the logits' tolerance.
 * @param local whether for layers of local attention
 */
export function rotaryTables(config: ModelConfig, length: number, local = false): RotaryTables {
  const { rotary_dim } = config;
  const own = local ? config.rotary_local : undefined;
  const { inverse, factor } = rotaryFrequencies(
    rotary_dim,
    own?.base ?? config.rotary_base,
    own ? own.scaling : config.rotary_scaling,
  );
  const half = rotary_dim / 2;
  const cos = new Float32Array(length * rotary_dim);
  const sin = new Float32Array(length * rotary_dim);
  for (let p = 0; p < length; p++) {
    for (let i = 0; i < half; i++) {
      const angle = f(p * inverse[i]!);
      const index = p * rotary_dim + i;
      cos[index] = cos[index + half] = f(Math.cos(angle)) * factor;
      sin[index] = sin[index + half] = f(Math.sin(angle)) * factor;
    }
  }
  return { cos: tf.keep(tf.tensor2d(cos, [length, rotary_dim])), sin: tf.keep(tf.tensor2d(sin, [length, rotary_dim])) };
}
