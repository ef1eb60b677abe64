import type { ModelConfig } from "../../models/config.ts";

/** Amount of computing that a request takes. */
export interface Effort {
  /** Tokens that it is about: of its text, or of all its rows. */
  readonly tokens: number;
  /** Floating-point operations that it is likely to take. */
  readonly flops: number;
  /** Those that it takes where nothing is kept that it could begin from; default `flops`. */
  readonly most?: number;
}

/** Floating-point operations of a forward over one row, the logits of `ends` positions included (default all). */
export function forwardFlops(config: ModelConfig, tokens: number, ends = tokens): number {
  const { n_layers, n_heads, n_key_value_heads, d_head, d_model, d_mlp, d_vocab, gated_mlp, attn_only } = config;
  const attention = d_model * d_head * (2 * n_heads + 2 * n_key_value_heads);
  const mlp = attn_only ? 0 : d_model * d_mlp * (gated_mlp ? 3 : 2);
  // Two operations a weight and token; queries times keys and weights times values, of half the square each.
  const among = 2 * tokens * tokens * n_heads * d_head;
  return n_layers * (2 * tokens * (attention + mlp) + among) + 2 * ends * d_model * d_vocab;
}

/** Operations a second before anything was measured: a small model on two cores. */
const PRIOR = 5e10;
/** Operations from which on an answer says something about the speed: of smaller ones most time is spent elsewhere. */
const TELLING = 5e10;
/** Weight of the newest measurement. */
const NEWEST = 0.5;

/** Speed of this machine, learned from what it has answered. */
export class Speed {
  /** Operations a second by kind of request; they use the machine to different degrees. */
  readonly #rates = new Map<string, number>();

  /** Seconds that a request of a kind is likely to take. */
  seconds(kind: string, flops: number): number {
    const rate = this.#rates.get(kind) ?? this.#rates.get("prompt") ?? PRIOR;
    return flops / rate;
  }

  /** Takes in how long an answer took. */
  learn(kind: string, flops: number, ms: number): void {
    if (flops < TELLING || ms <= 0) return;
    const rate = (1_000 * flops) / ms;
    const before = this.#rates.get(kind);
    this.#rates.set(kind, before === undefined ? rate : NEWEST * rate + (1 - NEWEST) * before);
  }
}
