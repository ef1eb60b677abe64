import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { activation, huggingFace } from "./hugging-face.ts";

function config(fields: Fields): ModelConfig {
  if (!fields.flag("do_layer_norm_before", true)) throw fields.refused("do_layer_norm_before", "true");
  if (!fields.flag("layer_norm_elementwise_affine", true))
    throw fields.refused("layer_norm_elementwise_affine", "true");
  const heads = fields.count("num_attention_heads");
  const model = fields.count("hidden_size");
  if (fields.count("word_embed_proj_dim", model) !== model) throw fields.refused("word_embed_proj_dim", `hidden_size`);
  return {
    n_layers: fields.count("num_hidden_layers"),
    n_heads: heads,
    n_key_value_heads: heads,
    d_model: model,
    d_head: model / heads,
    d_mlp: fields.count("ffn_dim"),
    n_ctx: fields.count("max_position_embeddings"),
    d_vocab: fields.count("vocab_size"),
    act_fn: activation(fields, "activation_function", "relu"),
    gated_mlp: false,
    attn_only: false,
    normalization_type: "LN",
    eps: 1e-5, // PyTorch's default, which the configs don't name
    final_norm: !fields.flag("_remove_final_layer_norm", false),
    positional_embedding_type: "standard",
    rotary_base: 10000,
    rotary_dim: model / heads,
    tie_word_embeddings: fields.flag("tie_word_embeddings", true),
    attn_scale: 1 / Math.sqrt(model / heads),
  };
}

/** OPT (Zhang et al. 2022): learned positions whose table starts two rows early, LayerNorm, ReLU. */
export const opt: Family = {
  name: "opt",
  huggingFace: huggingFace({
    architectures: ["OPTForCausalLM", "opt"],
    config,
    table: {
      prefix: "model.decoder.",
      embed: "embed_tokens",
      positions: { tensor: "embed_positions", skip: 2 },
      unembed: "lm_head",
      final: "final_layer_norm",
      block: "layers.{l}.",
      ln1: "self_attn_layer_norm",
      ln2: "final_layer_norm",
      qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
      o: "self_attn.out_proj",
      mlpIn: "fc1",
      mlpOut: "fc2",
      biases: { qkv: "optional", o: "optional", mlp: "optional" },
    },
  }),
};
