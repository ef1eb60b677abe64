import type { Family } from "./family.ts";
import { huggingFace, LLAMA_TABLE, llamaLike, windowsOf } from "./hugging-face.ts";

/** Mistral (Jiang et al. 2023): Llama's parts, and a window over which all layers attend. */
export const mistral: Family = {
  name: "mistral",
  huggingFace: huggingFace({
    architectures: ["MistralForCausalLM", "mistral"],
    config: (fields) => ({ ...llamaLike(fields), ...windowsOf(fields.with({ sliding_window: 4096 }), () => true) }),
    table: LLAMA_TABLE,
  }),
};
