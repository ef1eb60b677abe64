import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { gptLike, huggingFace } from "./hugging-face.ts";

function config(fields: Fields): ModelConfig {
  if (!fields.flag("do_layer_norm_before", true)) throw fields.refused("do_layer_norm_before", "true");
  if (!fields.flag("layer_norm_elementwise_affine", true))
    throw fields.refused("layer_norm_elementwise_affine", "true");
  const config = gptLike(fields, { mlp: "ffn_dim", activation: "activation_function" }, { activation: "relu" });
  if (fields.count("word_embed_proj_dim", config.d_model) !== config.d_model)
    throw fields.refused("word_embed_proj_dim", `hidden_size`);
  return { ...config, final_norm: !fields.flag("_remove_final_layer_norm", false) };
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
