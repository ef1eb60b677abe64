import { HeadscopeError } from "../common/errors.ts";

/**
 * Stretching of rotary frequencies for longer contexts: evenly, by Llama 3's three bands, by YaRN's ramp between two
 * numbers of rotations, or each by a divisor of its own (GGUF stores Llama 3's so).
 */
export type RotaryScaling =
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly low_freq_factor: number;
      readonly high_freq_factor: number;
      /** Tokens of the context that the frequencies were trained on. */
      readonly original_context: number;
    }
  | {
      readonly type: "yarn";
      readonly factor: number;
      readonly original_context: number;
      /** Rotations over the original context above which a frequency is kept, default 32. */
      readonly beta_fast?: number;
      /** Rotations below which a frequency is divided by the whole factor, default 1. */
      readonly beta_slow?: number;
      /** Factor on cosines and sines; by default it follows from factor and, where both are given, the two mscales. */
      readonly attention_factor?: number;
      readonly mscale?: number;
      readonly mscale_all_dim?: number;
      /** Begins and ends the ramp at whole dimensions, default true. */
      readonly truncate?: boolean;
    }
  | {
      readonly type: "factors";
      /** A divisor for every frequency [rotary_dim / 2]. */
      readonly factors: readonly number[];
      /** Factor on cosines and sines, default 1. */
      readonly attention_factor?: number;
    };

/** The shape of a transformer, with TransformerLens's field names. One forward serves every value of these fields. */
export interface ModelConfig {
  readonly n_layers: number;
  /** Query heads of a layer. */
  readonly n_heads: number;
  /** Key and value heads of a layer; `n_heads` is a multiple of it (grouped-query attention when smaller). */
  readonly n_key_value_heads: number;
  readonly d_model: number;
  readonly d_head: number;
  readonly d_mlp: number;
  /** Longest sequence in tokens. */
  readonly n_ctx: number;
  readonly d_vocab: number;
  readonly act_fn: "silu" | "gelu" | "gelu_new" | "gelu_pytorch_tanh" | "quick_gelu" | "relu";
  /** Gated MLP: multiplies act(gate) with a linear part (SwiGLU and its kin). */
  readonly gated_mlp: boolean;
  readonly attn_only: boolean;
  readonly normalization_type: "RMS" | "LN" | null;
  readonly eps: number;
  /** True with a norm between the last residual and the unembedding. */
  readonly final_norm: boolean;
  readonly positional_embedding_type: "rotary" | "standard" | "none";
  readonly rotary_base: number;
  /** Leading dimensions of a head that are rotated, in half-split order; `d_head` for all. */
  readonly rotary_dim: number;
  readonly tie_word_embeddings: boolean;
  /** Factor on query · key, usually 1 / sqrt(d_head). */
  readonly attn_scale: number;
  /** Attention and MLP both read the block's input, each through its own norm, and both add to it. */
  readonly parallel_attn_mlp?: boolean;
  /**
   * Places of a block's norms: before attention and MLP (default), after them, on what they add to the stream
   * (ln1_post and ln2_post), or both.
   */
  readonly norm_placement?: "pre" | "post" | "both";
  /** RMS norm of queries and keys before the rotation: over each head's d_head, or over all heads together. */
  readonly qk_norm?: "head" | "all";
  /** Attention scores become cap * tanh(score / cap) before the mask. */
  readonly attn_scores_soft_cap?: number;
  /** Logits become cap * tanh(logit / cap). */
  readonly output_logits_soft_cap?: number;
  /** Keys that a query of a local layer reaches, its own included. */
  readonly window_size?: number;
  /** By layer; default all local where window_size is given, else all global. */
  readonly attn_types?: readonly ("global" | "local")[];
  /** Factor on the embedding of a token; hook_embed is after it. */
  readonly embed_scale?: number;
  readonly rotary_scaling?: RotaryScaling;
  /** Rotation of local layers where it differs from the global ones'. */
  readonly rotary_local?: { readonly base: number; readonly scaling?: RotaryScaling };
  /** Width of the vectors that go in at each position, in a model that reads vectors instead of token ids. */
  readonly d_input?: number;
  /** Outputs at a position where they are not the d_vocab tokens (TransformerLens's d_vocab_out): other classes, or values. */
  readonly d_vocab_out?: number;
  /** Widths of the ReLU layers between the last residual and the output. */
  readonly readout_hidden?: readonly number[];
}

/** Outputs of a model at each position. */
export function outputWidth(config: ModelConfig): number {
  return config.d_vocab_out ?? config.d_vocab;
}

/** Keys that a query of a layer reaches, its own included; undefined where it reaches all before it. */
export function localWindow(config: ModelConfig, layer: number): number | undefined {
  const type = config.attn_types?.[layer] ?? (config.window_size === undefined ? "global" : "local");
  return type === "local" ? config.window_size : undefined;
}

/** The config of a model, or a config itself. @throws HeadscopeError (usage) for anything else */
export function configOf(model: ModelConfig | { readonly config: ModelConfig }): ModelConfig {
  const config = model && "config" in model ? model.config : (model as ModelConfig | undefined);
  if (Number.isInteger(config?.n_layers)) return config!;
  throw new HeadscopeError("usage", "what was given is neither a model nor its config", {
    remedy: "give what loadModel returned",
  });
}
