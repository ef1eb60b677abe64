import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { GEMMA_TABLE, GGUF_GEMMA_TABLE, gemmaLike, ggufGemma } from "./gemma.ts";
import { gguf } from "./gguf.ts";
import { huggingFace, windowsOf } from "./hugging-face.ts";

const config = (fields: Fields): ModelConfig => ({
  ...gemmaLike(fields),
  ...windowsOf(fields.with({ sliding_window: 4096 }), (layer) => layer % 2 === 0),
});

/** Gemma 2 (Gemma team 2024): even layers attend to a window, scores and logits are soft-capped. */
export const gemma2: Family = {
  name: "gemma2",
  huggingFace: huggingFace({
    architectures: ["Gemma2ForCausalLM", "gemma2"],
    config,
    table: GEMMA_TABLE,
  }),
  gguf: gguf({
    architecture: "gemma2",
    config,
    table: GGUF_GEMMA_TABLE,
    more: (keys, shared) => ({
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
      ...ggufGemma(keys, shared, 4096, 46),
    }),
  }),
};
