import type { Family } from "./family.ts";
import { GGUF_TABLE, gguf } from "./gguf.ts";
import { huggingFace, LLAMA_TABLE, llamaLike } from "./hugging-face.ts";

/**
 * Llama and what is built like it (Llama 2 and 3, SmolLM2, TinyLlama): RMSNorm, rotary positions with linear, llama3 and
 * YaRN scaling, grouped queries, SwiGLU; biases where the checkpoint has them (attention_bias).
 */
export const llama: Family = {
  name: "llama",
  huggingFace: huggingFace({
    architectures: ["LlamaForCausalLM", "llama"],
    config: llamaLike,
    table: { ...LLAMA_TABLE, biases: { qkv: "optional", o: "optional" } },
  }),
  gguf: gguf({ architecture: "llama", config: llamaLike, table: { ...GGUF_TABLE, interleaved: true } }),
};
