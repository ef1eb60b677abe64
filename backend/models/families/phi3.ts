import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { GGUF_TABLE, gguf, ggufWindow } from "./gguf.ts";
import { huggingFace, LLAMA_TABLE, llamaLike, windowsOf } from "./hugging-face.ts";

const config = (fields: Fields): ModelConfig => ({ ...llamaLike(fields), ...windowsOf(fields, () => true) });

/** Phi-3: Llama's parts with query, key and value in one tensor and gate and linear part in another. */
export const phi3: Family = {
  name: "phi3",
  huggingFace: huggingFace({
    architectures: ["Phi3ForCausalLM", "phi3"],
    config,
    table: { ...LLAMA_TABLE, qkv: "self_attn.qkv_proj", mlpIn: "mlp.gate_up_proj" },
  }),
  gguf: gguf({
    architecture: "phi3",
    config,
    table: { ...GGUF_TABLE, qkv: "attn_qkv", mlpIn: "ffn_up" },
    more: (keys) => ({ sliding_window: ggufWindow(keys) ?? null }),
  }),
};
