import type { ModelConfig } from "../config.ts";
import type { Family } from "./family.ts";
import type { Fields } from "./fields.ts";
import { gptLike, huggingFace, type Windows } from "./hugging-face.ts";

/** `attention_layers` names each layer's kind; older configs repeat patterns of kinds, `[[["global", "local"], 12]]`. */
function windows(fields: Fields, layers: number): Windows {
  const repeated = fields.values["attention_types"];
  const spread = (pattern: unknown): unknown[] => {
    const [kinds, times] = Array.isArray(pattern) ? pattern : [];
    if (!Array.isArray(kinds) || !Number.isInteger(times) || times < 1 || times * kinds.length > layers)
      throw fields.refused("attention_types", `lists of kinds with a count, ${layers} layers in all`);
    return Array.from({ length: times }, () => kinds as unknown[]).flat();
  };
  const kinds =
    fields.texts("attention_layers", layers) ??
    (Array.isArray(repeated) ? repeated.slice(0, layers).flatMap(spread) : []);
  const types = kinds.map((kind) => {
    if (kind !== "global" && kind !== "local") throw fields.refused("attention_types", "global and local layers");
    return kind;
  });
  if (types.length !== layers)
    throw fields.contradiction(`its attention_types name ${types.length} layers of ${layers}`);
  return types.includes("local") ? { window_size: fields.count("window_size", 256), attn_types: types } : {};
}

const NAMES = {
  ...{ layers: "num_layers", heads: "num_heads" },
  ...{ activation: "activation_function", eps: "layer_norm_epsilon" },
};

/** GPT-Neo leaves query · key as it is. */
function config(fields: Fields): ModelConfig {
  const config = gptLike(fields, NAMES, { activation: "gelu_new", mlp: 4 });
  return { ...config, attn_scale: 1, ...windows(fields, config.n_layers) };
}

/** GPT-Neo (Black et al. 2021): learned positions, LayerNorm, local attention in alternate layers, unscaled scores. */
export const gptNeo: Family = {
  name: "gpt_neo",
  huggingFace: huggingFace({
    architectures: ["GPTNeoForCausalLM", "gpt_neo"],
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
      qkv: ["attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"],
      o: "attn.attention.out_proj",
      mlpIn: "mlp.c_fc",
      mlpOut: "mlp.c_proj",
      biases: { o: "always", mlp: "always" },
    },
  }),
};
