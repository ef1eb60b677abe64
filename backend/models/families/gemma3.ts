import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { GEMMA_TABLE, GGUF_GEMMA_TABLE, gemmaLike, ggufGemma } from "./gemma.ts";
import { gguf } from "./gguf.ts";
import { huggingFace, windowsOf } from "./hugging-face.ts";
import { type RotationFields, rotationOf, scalingOf } from "./rope.ts";

/** Every layer but each sixth attends to a window. */
function windows(fields: Fields) {
  const every = fields.count("sliding_window_pattern", 6);
  return windowsOf(fields.with({ sliding_window: 4096 }), (layer) => (layer + 1) % every !== 0);
}

/** Local layers rotate with a base of their own. transformers 5 keeps both in `rope_parameters`, by kind of layer. */
function rotation(fields: Fields, head: number): RotationFields & { rotary_local: { base: number } } {
  const kinds = fields.object("rope_parameters");
  const [full, local] = [kinds?.object("full_attention"), kinds?.object("sliding_attention")];
  if (!full || !local) {
    const base = fields.positive("rope_local_base_freq", 10000);
    return { ...rotationOf(fields, head, 1e6), rotary_local: { base } };
  }
  const context = fields.count("max_position_embeddings");
  const [scaling, localScaling] = [scalingOf(full, context), scalingOf(local, context)];
  return {
    rotary_base: full.positive("rope_theta", 1e6),
    rotary_dim: head,
    ...(scaling ? { rotary_scaling: scaling } : {}),
    rotary_local: { base: local.positive("rope_theta", 10000), ...(localScaling ? { scaling: localScaling } : {}) },
  };
}

function config(fields: Fields): ModelConfig {
  const { rotary_scaling: _, ...shared } = gemmaLike(fields);
  return { ...shared, ...rotation(fields, shared.d_head), qk_norm: "head", ...windows(fields) };
}

/** Gemma 3, its text models: most layers attend to a window, queries and keys are normalised by head. */
export const gemma3: Family = {
  name: "gemma3",
  huggingFace: huggingFace({
    architectures: ["Gemma3ForCausalLM", "gemma3_text"],
    config,
    table: { ...GEMMA_TABLE, qNorm: "self_attn.q_norm", kNorm: "self_attn.k_norm" },
  }),
  gguf: gguf({
    architecture: "gemma3",
    config,
    table: { ...GGUF_GEMMA_TABLE, qNorm: "attn_q_norm", kNorm: "attn_k_norm" },
    more: (keys, shared) => ({
      ...ggufGemma(keys, shared, 1024, 62),
      rope_theta: keys.positive("rope.freq_base", 1e6),
      rope_local_base_freq: keys.positive("rope.freq_base_swa", 10000),
      sliding_window_pattern: keys.count("attention.sliding_window_pattern", 6),
    }),
  }),
};
