import type { ModelConfig } from "../config.ts";
import type { Fields } from "./fields.ts";
import { GGUF_TABLE, ggufWindow, type Shared } from "./gguf.ts";
import { activation, LLAMA_TABLE, llamaLike } from "./hugging-face.ts";
import type { TensorTable } from "./table.ts";

/** The fields that Gemma 2 and 3 share: scaled embeddings, norms before and after, soft caps, a scale of their own. */
export function gemmaLike(fields: Fields): ModelConfig {
  if (fields.flag("use_bidirectional_attention", false)) throw fields.unsupported("attention to later tokens");
  const config = llamaLike(fields, { tied: true });
  const [scores, logits] = [fields.optional("attn_logit_softcapping"), fields.optional("final_logit_softcapping")];
  return {
    ...config,
    act_fn: activation(fields, "hidden_activation", "gelu_pytorch_tanh"),
    norm_placement: "both",
    // transformers rounds the factor to the embedding's type, which is float32 here.
    embed_scale: Math.fround(Math.sqrt(config.d_model)),
    attn_scale: fields.positive("query_pre_attn_scalar", 256) ** -0.5,
    ...(scores === undefined ? {} : { attn_scores_soft_cap: scores }),
    ...(logits === undefined ? {} : { output_logits_soft_cap: logits }),
  };
}

/** Gemma's tensors: four norms a block, whose stored weights are what is added to 1. */
export const GEMMA_TABLE: TensorTable = {
  ...LLAMA_TABLE,
  ln1Post: "post_attention_layernorm",
  ln2: "pre_feedforward_layernorm",
  ln2Post: "post_feedforward_layernorm",
  normAdd: 1,
  biases: { qkv: "optional", o: "optional" },
};

/** Gemma's tensors in GGUF: its converter has added the 1 to the norms' weights. */
export const GGUF_GEMMA_TABLE: TensorTable = {
  ...GGUF_TABLE,
  ln1Post: "post_attention_norm",
  ln2Post: "post_ffw_norm",
};

/**
 * Reads the fields that a GGUF file of Gemma 2 or 3 has beside those that all have.
 * @param window of local layers where the file has none
 * @param largest layers of the one model of its line whose scores are scaled by d_model / n_heads, not by d_head; the file
 *   has no field for it, and llama.cpp tells it by its layers
 */
export function ggufGemma(keys: Fields, shared: Shared, window: number, largest: number): Record<string, unknown> {
  const { num_hidden_layers: layers, hidden_size, num_attention_heads: heads, head_dim } = shared;
  const caps = {
    attn_logit_softcapping: keys.optional("attn_logit_softcapping"),
    final_logit_softcapping: keys.optional("final_logit_softcapping"),
  };
  return {
    query_pre_attn_scalar: layers === largest ? hidden_size / heads : head_dim,
    sliding_window: ggufWindow(keys, window) ?? null,
    ...Object.fromEntries(Object.entries(caps).filter(([, cap]) => cap !== undefined)),
  };
}
