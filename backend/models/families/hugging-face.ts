import type { ModelConfig } from "../config.ts";
import { missingTensor } from "../formats/bytes.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { checkPiece, type Side } from "./family.ts";
import { Fields } from "./fields.ts";
import { rotationOf } from "./rope.ts";
import { partsOf, prefixesOf, type TensorTable } from "./table.ts";

/** A family as Hugging Face keeps it. */
export interface HuggingFace {
  /** Class names of `architectures`, and `model_type` for configs without. */
  readonly architectures: readonly string[];
  /** @param fields of config.json */
  config(fields: Fields): ModelConfig;
  readonly table: TensorTable;
  readonly ignored?: RegExp;
}

/** The Hugging Face side of a family: its own config and table, and the checks that all families share. */
export function huggingFace({ architectures, config, table, ignored }: HuggingFace): Side {
  // A tied model may store its embedding twice; transformers reads the one.
  const tied = new RegExp(`^${table.unembed}\\.weight$`);
  return {
    architectures,
    config(checkpoint) {
      const fields = new Fields(checkpoint.path, configJsonOf(checkpoint), "config.json's ");
      refuseForeign(fields);
      checkLayerCount(fields, checkpoint, table);
      const shape = config(fields);
      checkShape(shape, fields);
      checkTables(checkpoint, shape, table);
      checkBiases(checkpoint, fields, table);
      return shape;
    },
    parts: (config, has) => partsOf(table, config, has),
    configJson: configJsonOf,
    ignored: ignored ? new RegExp(`${tied.source}|${ignored.source}`) : tied,
  };
}

/** The config.json of a checkpoint; empty without one. */
export function configJsonOf(checkpoint: Checkpoint): Readonly<Record<string, unknown>> {
  return (checkpoint.metadata["config"] ?? {}) as Record<string, unknown>;
}

/** Refuses what no family does, whatever its architecture. */
function refuseForeign(fields: Fields): void {
  const quantised = fields.object("quantization_config");
  if (quantised) throw quantised.refused("quant_method", "weights in F32, F16 and BF16, and GGUF's quantised ones");
  for (const key of ["num_local_experts", "num_experts", "n_routed_experts"]) {
    const experts = fields.values[key];
    if (typeof experts === "number" && experts > 1)
      throw fields.unsupported(`a mixture of experts (config.json's ${key})`);
  }
}

/**
 * Checks what every config must fulfil.
 * @throws HeadscopeError "mismatch"
 */
export function checkShape(config: ModelConfig, fields: Fields): void {
  const { n_heads, n_key_value_heads, d_head, rotary_dim, positional_embedding_type } = config;
  if (n_heads % n_key_value_heads !== 0)
    throw fields.contradiction(`${n_heads} query heads are no multiple of ${n_key_value_heads} key-value heads`);
  if (!Number.isInteger(d_head))
    throw fields.contradiction(`${config.d_model} dimensions do not divide into ${n_heads} heads`);
  if (positional_embedding_type !== "rotary") return;
  if (rotary_dim % 2 !== 0 || rotary_dim < 2)
    throw fields.contradiction(`${rotary_dim} of a head's ${d_head} dimensions can't be rotated in pairs`);
  if (rotary_dim > d_head)
    throw fields.contradiction(`a head of ${d_head} dimensions can't have ${rotary_dim} of them rotated`);
}

/** Optional biases of attention may not be missing where the config says that there are some. */
function checkBiases(checkpoint: Checkpoint, fields: Fields, { block, qkv, biases, ...table }: TensorTable): void {
  if (biases?.qkv !== "optional" || !["attention_bias", "enable_bias"].some((key) => fields.values[key] === true))
    return;
  const name = `${block.replace("{l}", "0")}${typeof qkv === "string" ? qkv : qkv[0]}.bias`;
  const names = prefixesOf(table).map((prefix) => prefix + name);
  if (!names.some((tensor) => checkpoint.tensors.has(tensor))) throw missingTensor(checkpoint.path, names[0]!);
}

/** Names of the number of layers in configs. */
const LAYERS = ["num_hidden_layers", "n_layer", "num_layers"];

/**
 * Checks the number of layers against the tensors, before anything is made for each layer. A config with fewer than the tensors
 * make is refused too, though transformers loads the first ones and warns: a model is known by the digest of its weights, and
 * the whole one and its beginning would have the same.
 * @throws HeadscopeError "mismatch"
 */
export function checkLayerCount(fields: Fields, checkpoint: Checkpoint, table: TensorTable): void {
  const stored = layersOf(checkpoint, table);
  for (const key of LAYERS.filter((name) => fields.values[name] != null)) {
    const declared = fields.count(key);
    if (declared === stored) continue;
    const remedy = checkpoint.format === "gguf" ? CONVERT_AGAIN : layersRemedy(key, declared, stored);
    throw fields.contradiction(`its config says ${declared} layers, and its tensors make ${stored}`, remedy);
  }
}

const CONVERT_AGAIN = "fetch or convert the file again";

/** The remedy where config.json and the tensors of its folder count different layers. */
function layersRemedy(key: string, declared: number, stored: number): string {
  const all = `say ${key}: ${stored} in config.json`;
  if (declared > stored) return `fetch the weights again, or ${all} where the model has no more`;
  return (
    `for the whole model ${all}; for its first ${declared === 1 ? "layer" : `${declared} layers`} make a model of them in ` +
    "transformers, AutoModelForCausalLM.from_pretrained(folder).save_pretrained(other), and load that folder"
  );
}

/**
 * Checks the sizes of the embeddings against their tensors, before anything is made for each row.
 * @throws HeadscopeError "mismatch"
 */
export function checkTables(checkpoint: Checkpoint, config: ModelConfig, table: TensorTable): void {
  const { d_vocab, d_model, n_ctx } = config;
  const sizes: [string, number][] = [[table.embed, d_vocab]];
  if (table.positions) sizes.push([table.positions.tensor, n_ctx + (table.positions.skip ?? 0)]);
  for (const [name, rows] of sizes) {
    for (const prefix of prefixesOf(table)) {
      const tensor = `${prefix}${name}.weight`;
      if (checkpoint.tensors.has(tensor)) checkPiece(checkpoint, { tensor, shape: [rows, d_model] });
    }
  }
}

/** The layers that the tensors' names count, so that a config can't drop or invent some. */
function layersOf(checkpoint: Checkpoint, table: TensorTable): number {
  const [before, after] = table.block.split("{l}") as [string, string];
  const starts = prefixesOf(table).map((prefix) => prefix + before);
  let layers = 0;
  for (const name of checkpoint.tensors.keys()) {
    const start = starts.find((text) => name.startsWith(text));
    if (start === undefined) continue;
    const number = /^\d+/.exec(name.slice(start.length))?.[0];
    if (number !== undefined && name.startsWith(after, start.length + number.length))
      layers = Math.max(layers, 1 + Number(number));
  }
  return layers;
}

/** Activations by Hugging Face's names; several spell the tanh form of GELU. */
const ACTIVATIONS: Readonly<Record<string, ModelConfig["act_fn"]>> = {
  silu: "silu",
  swish: "silu",
  relu: "relu",
  gelu: "gelu",
  gelu_python: "gelu",
  gelu_new: "gelu_new",
  gelu_fast: "gelu_new",
  gelu_pytorch_tanh: "gelu_new",
  gelu_accurate: "gelu_new",
  quick_gelu: "quick_gelu",
};

/** The activation that a field names. Throws HeadscopeError "unsupported" for another. */
export function activation(fields: Fields, key: string, otherwise: string): ModelConfig["act_fn"] {
  const name = fields.text(key, otherwise);
  const act_fn = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (act_fn === undefined) throw fields.refused(key, Object.keys(ACTIVATIONS).join(", "));
  return act_fn;
}

/**
 * The config of a model built like Llama: RMSNorm, rotary positions, grouped queries, a gated MLP without biases. Relatives
 * spread it and change what differs.
 * @param defaults what the family's class says where config.json is silent
 */
export function llamaLike(fields: Fields, defaults: { tied?: boolean; activation?: string } = {}): ModelConfig {
  if (fields.flag("mlp_bias", false)) throw fields.unsupported("biases in a gated MLP");
  const heads = fields.count("num_attention_heads");
  const model = fields.count("hidden_size");
  const head = fields.values["head_dim"] == null ? model / heads : fields.count("head_dim");
  return {
    n_layers: fields.count("num_hidden_layers"),
    n_heads: heads,
    n_key_value_heads: fields.count("num_key_value_heads", heads),
    d_model: model,
    d_head: head,
    d_mlp: fields.count("intermediate_size"),
    n_ctx: fields.count("max_position_embeddings"),
    d_vocab: fields.count("vocab_size"),
    act_fn: activation(fields, "hidden_act", defaults.activation ?? "silu"),
    gated_mlp: true,
    attn_only: false,
    normalization_type: "RMS",
    eps: fields.positive("rms_norm_eps", 1e-6),
    final_norm: true,
    positional_embedding_type: "rotary",
    ...rotationOf(fields, head),
    tie_word_embeddings: fields.flag("tie_word_embeddings", defaults.tied ?? false),
    attn_scale: 1 / Math.sqrt(head),
  };
}

/** Names of config.json's fields in models built like GPT-2, where they are not Llama's. */
interface GptNames {
  readonly layers?: string;
  readonly heads?: string;
  readonly model?: string;
  readonly mlp?: string;
  readonly context?: string;
  readonly activation?: string;
  /** Absent where the configs don't name it: PyTorch's default, 1e-5. */
  readonly eps?: string;
}

/**
 * The config of a model built like GPT-2: as many key as query heads, LayerNorm, learned positions, an MLP without gate.
 * @param defaults what the family's class says where config.json is silent; without `mlp`, its width over the model's, it is needed
 */
export function gptLike(
  fields: Fields,
  names: GptNames,
  defaults: { activation: string; mlp?: number; tied?: boolean },
): ModelConfig {
  const heads = fields.count(names.heads ?? "num_attention_heads");
  const model = fields.count(names.model ?? "hidden_size");
  const mlp = names.mlp ?? "intermediate_size";
  return {
    n_layers: fields.count(names.layers ?? "num_hidden_layers"),
    n_heads: heads,
    n_key_value_heads: heads,
    d_model: model,
    d_head: model / heads,
    d_mlp: defaults.mlp === undefined ? fields.count(mlp) : fields.count(mlp, defaults.mlp * model),
    n_ctx: fields.count(names.context ?? "max_position_embeddings"),
    d_vocab: fields.count("vocab_size"),
    act_fn: activation(fields, names.activation ?? "hidden_act", defaults.activation),
    gated_mlp: false,
    attn_only: false,
    normalization_type: "LN",
    eps: names.eps === undefined ? 1e-5 : fields.positive(names.eps, 1e-5),
    final_norm: true,
    positional_embedding_type: "standard",
    rotary_base: 10000,
    rotary_dim: model / heads,
    tie_word_embeddings: fields.flag("tie_word_embeddings", defaults.tied ?? true),
    attn_scale: 1 / Math.sqrt(model / heads),
  };
}

/** Tensor names of a model built like Llama, which has no biases. */
export const LLAMA_TABLE: TensorTable = {
  prefix: "model.",
  embed: "embed_tokens",
  unembed: "lm_head",
  final: "norm",
  block: "layers.{l}.",
  ln1: "input_layernorm",
  ln2: "post_attention_layernorm",
  qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
  o: "self_attn.o_proj",
  mlpIn: ["mlp.gate_proj", "mlp.up_proj"],
  mlpOut: "mlp.down_proj",
};

/** The layers that attend to a window only, and the length of it; no field where none does or it covers every position. */
export type Windows = Pick<ModelConfig, "window_size" | "attn_types">;

/**
 * Reads the window of local layers, `sliding_window`, and the layers' kinds, `layer_types`.
 * @param isLocal which layers are local where the config has no layer_types
 */
export function windowsOf(fields: Fields, isLocal: (layer: number) => boolean): Windows {
  const layers = fields.count("num_hidden_layers");
  const window = fields.values["sliding_window"] == null ? undefined : fields.count("sliding_window");
  const types = fields.texts("layer_types", layers)?.map((type) => {
    if (type !== "sliding_attention" && type !== "full_attention")
      throw fields.refused("layer_types", "sliding_attention and full_attention");
    return type === "sliding_attention";
  });
  const local = types ?? Array.from({ length: layers }, (_, layer) => isLocal(layer));
  if (window === undefined || window >= fields.count("max_position_embeddings") || !local.includes(true)) return {};
  return { window_size: window, attn_types: local.map((is) => (is ? "local" : "global")) };
}

/** Qwen's windows: off unless `use_sliding_window`, then of the layers from `max_window_layers` on. */
export function qwenWindows(fields: Fields): Windows {
  if (!fields.flag("use_sliding_window", false)) return {};
  const first = fields.count("max_window_layers", 28);
  return windowsOf(fields.with({ sliding_window: 4096 }), (layer) => layer >= first);
}
