import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { GGUF_GPT_TABLE, gguf } from "./gguf.ts";
import { gptLike, huggingFace } from "./hugging-face.ts";
import { rotationOf } from "./rope.ts";

function config(fields: Fields): ModelConfig {
  // transformers 4 names the base and share of the rotation its own way.
  const older = {
    rope_theta: fields.values["rotary_emb_base"],
    partial_rotary_factor: fields.values["rotary_pct"] ?? 0.25,
  };
  const config = gptLike(fields, { eps: "layer_norm_eps" }, { activation: "gelu", tied: false });
  return {
    ...config,
    positional_embedding_type: "rotary",
    ...rotationOf(fields.with(older), config.d_head),
    ...(fields.flag("use_parallel_residual", true) ? { parallel_attn_mlp: true as const } : {}),
  };
}

/** Rows of the fused [heads, 3, d_head] in the engine's order: all queries, all keys, all values. */
function qkvRows({ n_heads, d_head }: ModelConfig): number[] {
  return Array.from({ length: 3 * n_heads * d_head }, (_, i) => {
    const [which, head, dimension] = [Math.floor(i / (n_heads * d_head)), Math.floor(i / d_head) % n_heads, i % d_head];
    return (head * 3 + which) * d_head + dimension;
  });
}

/** GPT-NeoX and Pythia (Biderman et al. 2023): attention and MLP in parallel, part of each head rotated, LayerNorm. */
export const gptNeox: Family = {
  name: "gpt_neox",
  huggingFace: huggingFace({
    architectures: ["GPTNeoXForCausalLM", "gpt_neox"],
    config,
    table: {
      prefix: "gpt_neox.",
      embed: "embed_in",
      unembed: "embed_out",
      final: "final_layer_norm",
      block: "layers.{l}.",
      ln1: "input_layernorm",
      ln2: "post_attention_layernorm",
      qkv: "attention.query_key_value",
      qkvRows,
      o: "attention.dense",
      mlpIn: "mlp.dense_h_to_4h",
      mlpOut: "mlp.dense_4h_to_h",
      biases: { qkv: "optional", o: "optional", mlp: "always" },
    },
  }),
  gguf: gguf({
    architecture: "gptneox",
    config,
    norm: "layer",
    table: GGUF_GPT_TABLE, // the converter has put the fused rows into the engine's order
    more: (keys, { head_dim, rope_theta }) => ({
      rotary_pct: keys.count("rope.dimension_count", head_dim) / head_dim,
      rotary_emb_base: rope_theta,
      use_parallel_residual: keys.flag("use_parallel_residual", true),
    }),
  }),
};
