import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { GGUF_GPT_TABLE, gguf } from "./gguf.ts";
import { activation, huggingFace } from "./hugging-face.ts";

function config(fields: Fields): ModelConfig {
  if (fields.flag("scale_attn_by_inverse_layer_idx", false)) throw fields.unsupported("a scale of scores by layer");
  if (fields.flag("add_cross_attention", false)) throw fields.unsupported("cross-attention");
  const heads = fields.count("n_head");
  const model = fields.count("n_embd");
  const head = model / heads;
  return {
    n_layers: fields.count("n_layer"),
    n_heads: heads,
    n_key_value_heads: heads,
    d_model: model,
    d_head: head,
    d_mlp: fields.count("n_inner", 4 * model),
    n_ctx: fields.count("n_positions"),
    d_vocab: fields.count("vocab_size"),
    act_fn: activation(fields, "activation_function", "gelu_new"),
    gated_mlp: false,
    attn_only: false,
    normalization_type: "LN",
    eps: fields.positive("layer_norm_epsilon", 1e-5),
    final_norm: true,
    positional_embedding_type: "standard",
    rotary_base: 10000,
    rotary_dim: head,
    tie_word_embeddings: fields.flag("tie_word_embeddings", true),
    attn_scale: fields.flag("scale_attn_weights", true) ? 1 / Math.sqrt(head) : 1,
  };
}

/** GPT-2 (Radford et al. 2019): learned positions, LayerNorm, matrices stored [in, out]. */
export const gpt2: Family = {
  name: "gpt2",
  huggingFace: huggingFace({
    architectures: ["GPT2LMHeadModel", "gpt2"],
    config,
    table: {
      prefix: "transformer.",
      embed: "wte",
      positions: { tensor: "wpe" },
      unembed: "lm_head",
      final: "ln_f",
      block: "h.{l}.",
      ln1: "ln_1",
      ln2: "ln_2",
      qkv: "attn.c_attn",
      o: "attn.c_proj",
      mlpIn: "mlp.c_fc",
      mlpOut: "mlp.c_proj",
      biases: { qkv: "always", o: "always", mlp: "always" },
      transpose: true,
    },
  }),
  gguf: gguf({
    architecture: "gpt2",
    config,
    norm: "layer",
    table: { ...GGUF_GPT_TABLE, positions: { tensor: "position_embd" } },
    more: (_, shared) => ({
      n_layer: shared.num_hidden_layers,
      n_head: shared.num_attention_heads,
      n_embd: shared.hidden_size,
      n_inner: shared["intermediate_size"],
      n_positions: shared["max_position_embeddings"],
      layer_norm_epsilon: shared["layer_norm_eps"],
    }),
  }),
};
