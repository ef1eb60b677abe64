import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { GGUF_TABLE, gguf, ggufWindow } from "./gguf.ts";
import { huggingFace, LLAMA_TABLE, llamaLike } from "./hugging-face.ts";

const { ln1: _, ln2: __, ...table } = LLAMA_TABLE;
const { ln1: ___, ln2: ____, ...ggufTable } = GGUF_TABLE;

const config = (fields: Fields): ModelConfig => ({ ...llamaLike(fields), norm_placement: "post", qk_norm: "all" });

/**
 * OLMo 2 (OLMo team 2024): no norm before attention and MLP but one after each, and an RMSNorm over the queries, and the
 * keys, of all heads together.
 */
export const olmo2: Family = {
  name: "olmo2",
  huggingFace: huggingFace({
    architectures: ["Olmo2ForCausalLM", "olmo2"],
    config,
    table: {
      ...table,
      ln1Post: "post_attention_layernorm",
      ln2Post: "post_feedforward_layernorm",
      qNorm: "self_attn.q_norm",
      kNorm: "self_attn.k_norm",
      biases: { qkv: "optional", o: "optional" },
    },
  }),
  gguf: gguf({
    architecture: "olmo2",
    config,
    table: {
      ...ggufTable,
      ln1Post: "post_attention_norm",
      ln2Post: "post_ffw_norm",
      qNorm: "attn_q_norm",
      kNorm: "attn_k_norm",
    },
    more(keys) {
      // The converter writes OLMo 3, which has windows, under the same name.
      if (ggufWindow(keys) !== undefined) throw keys.unsupported("OLMo 3's windows");
      return {};
    },
  }),
};
