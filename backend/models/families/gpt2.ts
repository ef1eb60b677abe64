import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { GGUF_GPT_TABLE, gguf } from "./gguf.ts";
import { gptLike, huggingFace } from "./hugging-face.ts";

/** GPT-2's names of the fields of config.json. */
const NAMES = {
  ...{ layers: "n_layer", heads: "n_head", model: "n_embd", mlp: "n_inner", context: "n_positions" },
  ...{ activation: "activation_function", eps: "layer_norm_epsilon" },
};

function config(fields: Fields): ModelConfig {
  if (fields.flag("scale_attn_by_inverse_layer_idx", false)) throw fields.unsupported("a scale of scores by layer");
  if (fields.flag("add_cross_attention", false)) throw fields.unsupported("cross-attention");
  const config = gptLike(fields, NAMES, { activation: "gelu_new", mlp: 4 });
  return { ...config, attn_scale: fields.flag("scale_attn_weights", true) ? config.attn_scale : 1 };
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
