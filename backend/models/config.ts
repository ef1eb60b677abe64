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
  readonly act_fn: "silu" | "gelu" | "gelu_new" | "relu";
  /** Whether the MLP multiplies act(gate) with a linear part (SwiGLU and its kin). */
  readonly gated_mlp: boolean;
  readonly attn_only: boolean;
  readonly normalization_type: "RMS" | "LN" | null;
  readonly eps: number;
  /** Whether a norm stands between the last residual and the unembedding. */
  readonly final_norm: boolean;
  readonly positional_embedding_type: "rotary" | "standard" | "none";
  readonly rotary_base: number;
  /** Leading dimensions of a head that are rotated, in half-split order; `d_head` for all. */
  readonly rotary_dim: number;
  readonly tie_word_embeddings: boolean;
  /** Factor on query · key, usually 1 / sqrt(d_head). */
  readonly attn_scale: number;
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
