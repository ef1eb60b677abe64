import type { Family } from "./family.ts";
import { GGUF_TABLE, gguf } from "./gguf.ts";
import { huggingFace, LLAMA_TABLE, llamaLike, qwenWindows } from "./hugging-face.ts";

/** Qwen 3: Llama's parts with an RMSNorm over each head's queries and keys before the rotation. */
export const qwen3: Family = {
  name: "qwen3",
  huggingFace: huggingFace({
    architectures: ["Qwen3ForCausalLM", "qwen3"],
    config: (fields) => ({ ...llamaLike(fields), qk_norm: "head", ...qwenWindows(fields) }),
    table: {
      ...LLAMA_TABLE,
      qNorm: "self_attn.q_norm",
      kNorm: "self_attn.k_norm",
      biases: { qkv: "optional", o: "optional" },
    },
  }),
  gguf: gguf({
    architecture: "qwen3",
    config: (fields) => ({ ...llamaLike(fields), qk_norm: "head" }),
    table: { ...GGUF_TABLE, qNorm: "attn_q_norm", kNorm: "attn_k_norm" },
  }),
};
