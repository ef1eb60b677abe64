import type { Family } from "./family.ts";
import { GGUF_TABLE, gguf } from "./gguf.ts";
import { huggingFace, LLAMA_TABLE, llamaLike, qwenWindows } from "./hugging-face.ts";

/** Qwen 2 and 2.5: Llama's parts with biases on query, key and value. */
export const qwen2: Family = {
  name: "qwen2",
  huggingFace: huggingFace({
    architectures: ["Qwen2ForCausalLM", "qwen2"],
    config: (fields) => ({ ...llamaLike(fields), ...qwenWindows(fields) }),
    table: { ...LLAMA_TABLE, biases: { qkv: "always" } },
  }),
  gguf: gguf({ architecture: "qwen2", config: llamaLike, table: { ...GGUF_TABLE, biases: { qkv: "always" } } }),
};
