import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../runtime/tf.ts";
import type { ModelConfig } from "./config.ts";
import type { Tokenizer } from "./formats/tokenizer.ts";
import { type Weights, weightBytes, weightHandles } from "./weights.ts";

/** A loaded model: what it is, its weights, and the tables that its forward needs. */
export class Model {
  /** How the user named it. */
  readonly ref: string;
  /** The family that its checkpoint belongs to, such as llama. */
  readonly family: string;
  /** sha256 of the checkpoint, `sha256:…`. */
  readonly digest: string;
  readonly config: ModelConfig;
  readonly weights: Weights;
  readonly tokenizer: Tokenizer | undefined;
  /** What its captured functions depend on beside shapes. */
  readonly key: string;
  #rotary: { cos: Tensor; sin: Tensor } | undefined;

  constructor(parts: {
    ref: string;
    family: string;
    digest: string;
    config: ModelConfig;
    weights: Weights;
    tokenizer?: Tokenizer | undefined;
  }) {
    this.ref = parts.ref;
    this.family = parts.family;
    this.digest = parts.digest;
    this.config = parts.config;
    this.weights = parts.weights;
    this.tokenizer = parts.tokenizer;
    const { n_layers: _, n_ctx: __, ...shape } = parts.config;
    this.key = JSON.stringify(shape);
  }

  /** Bytes of the weights as they are held. */
  get bytes(): number {
    return weightBytes(this.weights);
  }

  /** Cosines and sines of every position [n_ctx, rotary_dim], made once. */
  get rotary(): { cos: Tensor; sin: Tensor } | undefined {
    this.#rotary ??= Model.rotaryOf(this.config);
    return this.#rotary;
  }

  /** The same of any config; the caller disposes them. */
  static rotaryOf(config: ModelConfig): { cos: Tensor; sin: Tensor } | undefined {
    return config.positional_embedding_type === "rotary" ? rotaryTables(config) : undefined;
  }

  dispose(): void {
    for (const handle of weightHandles(this.weights)) handle.dispose();
    this.#rotary?.cos.dispose();
    this.#rotary?.sin.dispose();
    this.#rotary = undefined;
  }
}

/**
 * Rotary tables, rounded to float32 after every step as PyTorch does: at position 8,000 an angle computed in
 * float64 differs from that by more than the logits' tolerance.
 */
function rotaryTables(config: ModelConfig): { cos: Tensor; sin: Tensor } {
  const { n_ctx, rotary_dim, rotary_base } = config;
  const half = rotary_dim / 2;
  const f = Math.fround;
  const inverse = Array.from({ length: half }, (_, i) => f(1 / f(rotary_base ** f((2 * i) / rotary_dim))));
  const cos = new Float32Array(n_ctx * rotary_dim);
  const sin = new Float32Array(n_ctx * rotary_dim);
  for (let p = 0; p < n_ctx; p++) {
    for (let i = 0; i < half; i++) {
      const angle = f(p * inverse[i]!);
      const at = p * rotary_dim + i;
      cos[at] = cos[at + half] = Math.cos(angle);
      sin[at] = sin[at + half] = Math.sin(angle);
    }
  }
  return { cos: tf.keep(tf.tensor2d(cos, [n_ctx, rotary_dim])), sin: tf.keep(tf.tensor2d(sin, [n_ctx, rotary_dim])) };
}
