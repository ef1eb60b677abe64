import { z } from "zod";
import type { ModelConfig } from "./config.ts";

/** A width, a count of heads, a vocabulary: beyond what any model has, and small enough that a product of two is exact. */
const size = z
  .int()
  .min(1)
  .max(2 ** 24);
const number = z.number();
const positive = z.number().positive();

/** A bound for every field alone; what they come to together is compared with the tensors. */
const rotaryScaling = z.discriminatedUnion("type", [
  z.object({ type: z.literal("linear"), factor: positive }),
  z.object({
    type: z.literal("llama3"),
    factor: positive,
    low_freq_factor: positive,
    high_freq_factor: positive,
    original_context: positive,
  }),
  z.object({
    type: z.literal("yarn"),
    factor: positive,
    original_context: positive,
    beta_fast: positive.exactOptional(),
    beta_slow: positive.exactOptional(),
    attention_factor: positive.exactOptional(),
    mscale: number.exactOptional(),
    mscale_all_dim: number.exactOptional(),
    truncate: z.boolean().exactOptional(),
  }),
  z.object({
    type: z.literal("factors"),
    factors: z.array(positive).max(4_096),
    attention_factor: positive.exactOptional(),
  }),
]);

/** The shape of a transformer as a file may give it: every field of `ModelConfig` with the values that it can have. */
export const modelConfigSchema = z
  .object({
    n_layers: z.int().min(1).max(4_096),
    n_heads: z.int().min(1).max(65_536),
    n_key_value_heads: z.int().min(1).max(65_536),
    d_model: size,
    d_head: size,
    d_mlp: z
      .int()
      .min(0)
      .max(2 ** 24),
    n_ctx: z
      .int()
      .min(1)
      .max(2 ** 20),
    d_vocab: size,
    act_fn: z.enum(["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu"]),
    gated_mlp: z.boolean(),
    attn_only: z.boolean(),
    normalization_type: z.enum(["RMS", "LN"]).nullable(),
    eps: z.number().min(0).max(1),
    final_norm: z.boolean(),
    positional_embedding_type: z.enum(["rotary", "standard", "none"]),
    rotary_base: positive,
    rotary_dim: z
      .int()
      .min(0)
      .max(2 ** 24),
    tie_word_embeddings: z.boolean(),
    attn_scale: number,
    parallel_attn_mlp: z.boolean().exactOptional(),
    norm_placement: z.enum(["pre", "post", "both"]).exactOptional(),
    qk_norm: z.enum(["head", "all"]).exactOptional(),
    attn_scores_soft_cap: positive.exactOptional(),
    output_logits_soft_cap: positive.exactOptional(),
    window_size: size.exactOptional(),
    attn_types: z
      .array(z.enum(["global", "local"]))
      .max(4_096)
      .exactOptional(),
    embed_scale: number.exactOptional(),
    rotary_scaling: rotaryScaling.exactOptional(),
    rotary_local: z.object({ base: positive, scaling: rotaryScaling.exactOptional() }).exactOptional(),
    d_input: size.exactOptional(),
    d_vocab_out: size.exactOptional(),
    readout_hidden: z.array(size).max(64).exactOptional(),
  })
  .refine(({ n_heads, n_key_value_heads }) => n_heads % n_key_value_heads === 0, {
    path: ["n_heads"],
    message: "it is no multiple of n_key_value_heads",
  })
  .refine(
    ({ rotary_dim, d_head, positional_embedding_type: positions }) =>
      rotary_dim <= d_head && (positions !== "rotary" || rotary_dim % 2 === 0),
    { path: ["rotary_dim"], message: "it is odd, or more than d_head" },
  )
  .refine(({ attn_types, n_layers }) => attn_types === undefined || attn_types.length === n_layers, {
    path: ["attn_types"],
    message: "it does not name every layer",
  }) satisfies z.ZodType<ModelConfig>;
