import type { ModelConfig } from "../config.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { Family, Part, Piece } from "./family.ts";
import { Fields } from "./fields.ts";

/** Tensor names of the two formats; {l} is the layer. */
const NAMES = {
  gguf: {
    embed: "token_embd.weight",
    unembed: "output.weight",
    final: "output_norm.weight",
    ln1: "blk.{l}.attn_norm.weight",
    ln2: "blk.{l}.ffn_norm.weight",
    q: "blk.{l}.attn_q",
    k: "blk.{l}.attn_k",
    v: "blk.{l}.attn_v",
    o: "blk.{l}.attn_output",
    gate: "blk.{l}.ffn_gate.weight",
    linear: "blk.{l}.ffn_up.weight",
    out: "blk.{l}.ffn_down.weight",
  },
  safetensors: {
    embed: "model.embed_tokens.weight",
    unembed: "lm_head.weight",
    final: "model.norm.weight",
    ln1: "model.layers.{l}.input_layernorm.weight",
    ln2: "model.layers.{l}.post_attention_layernorm.weight",
    q: "model.layers.{l}.self_attn.q_proj",
    k: "model.layers.{l}.self_attn.k_proj",
    v: "model.layers.{l}.self_attn.v_proj",
    o: "model.layers.{l}.self_attn.o_proj",
    gate: "model.layers.{l}.mlp.gate_proj.weight",
    linear: "model.layers.{l}.mlp.up_proj.weight",
    out: "model.layers.{l}.mlp.down_proj.weight",
  },
} as const;

/** What the two formats' configs say, before it is checked. */
interface Sizes {
  layers: number;
  heads: number;
  kvHeads: number;
  model: number;
  head: number;
  mlp: number;
  context: number;
  vocab: number;
  eps: number;
  rotaryBase: number;
  rotaryDim: number;
}

function ggufSizes(checkpoint: Checkpoint): Sizes {
  const { path, metadata } = checkpoint;
  const fields = new Fields(path, metadata);
  const scaling = metadata["llama.rope.scaling.type"];
  if (scaling !== undefined && scaling !== "none") throw fields.unsupported(`rope scaling "${String(scaling)}"`);
  if (checkpoint.tensors.has("rope_freqs.weight"))
    throw fields.unsupported('rope scaling "llama3" (rope_freqs.weight)');
  if (Number(metadata["llama.expert_count"] ?? 0) > 0) throw fields.unsupported("a mixture of experts");
  const heads = fields.count("llama.attention.head_count");
  const model = fields.count("llama.embedding_length");
  const head = fields.count("llama.attention.key_length", model / heads);
  const vocab = checkpoint.tensors.get(NAMES.gguf.embed)?.shape[0];
  const tokens = metadata["tokenizer.ggml.tokens"];
  return {
    layers: fields.count("llama.block_count"),
    heads,
    kvHeads: fields.count("llama.attention.head_count_kv", heads),
    model,
    head,
    mlp: fields.count("llama.feed_forward_length"),
    context: fields.count("llama.context_length"),
    vocab: fields.count("llama.vocab_size", Array.isArray(tokens) ? tokens.length : vocab),
    eps: fields.positive("llama.attention.layer_norm_rms_epsilon"),
    rotaryBase: fields.positive("llama.rope.freq_base", 10000),
    rotaryDim: fields.count("llama.rope.dimension_count", head),
  };
}

function huggingFaceSizes(checkpoint: Checkpoint): Sizes {
  const config = (checkpoint.metadata["config"] ?? {}) as Record<string, unknown>;
  const fields = new Fields(checkpoint.path, config, "config.json's ");
  // transformers 5 moved rope_theta into rope_parameters; rope_scaling is the older place of the same.
  const rope = (config["rope_parameters"] ?? config["rope_scaling"] ?? {}) as Record<string, unknown>;
  const type = rope["rope_type"] ?? rope["type"] ?? "default";
  if (type !== "default") throw fields.unsupported(`rope scaling "${String(type)}"`);
  const activation = config["hidden_act"] ?? "silu";
  if (activation !== "silu" && activation !== "swish")
    throw fields.unsupported(`the activation "${String(activation)}"`);
  if (config["mlp_bias"] === true) throw fields.unsupported("biases in a gated MLP");
  const heads = fields.count("num_attention_heads");
  const model = fields.count("hidden_size");
  const head = fields.count("head_dim", model / heads);
  return {
    layers: fields.count("num_hidden_layers"),
    heads,
    kvHeads: fields.count("num_key_value_heads", heads),
    model,
    head,
    mlp: fields.count("intermediate_size"),
    context: fields.count("max_position_embeddings"),
    vocab: fields.count("vocab_size"),
    eps: fields.positive("rms_norm_eps", 1e-6),
    rotaryBase: new Fields(checkpoint.path, { ...config, ...rope }, "config.json's ").positive("rope_theta", 10000),
    rotaryDim: head,
  };
}

/** The layers that the tensors' names count, so that a config can't drop or invent some. */
function layersFound(checkpoint: Checkpoint): number {
  const pattern = checkpoint.format === "gguf" ? /^blk\.(\d+)\./ : /^model\.layers\.(\d+)\./;
  let layers = 0;
  for (const name of checkpoint.tensors.keys()) layers = Math.max(layers, 1 + Number(pattern.exec(name)?.[1] ?? -1));
  return layers;
}

function config(checkpoint: Checkpoint): ModelConfig {
  const sizes = checkpoint.format === "gguf" ? ggufSizes(checkpoint) : huggingFaceSizes(checkpoint);
  const fields = new Fields(checkpoint.path, {});
  const { heads, kvHeads, head, rotaryDim } = sizes;
  if (heads % kvHeads !== 0)
    throw fields.contradiction(`${heads} query heads are no multiple of ${kvHeads} key-value heads`);
  if (head % 2 !== 0) throw fields.contradiction(`heads of ${head} dimensions can't be rotated in pairs`);
  // llama.cpp interleaves whole heads; which pairs a partial rotation means is then no longer the same.
  if (rotaryDim !== head) throw fields.unsupported(`rotation of ${rotaryDim} of a head's ${head} dimensions`);
  const layers = layersFound(checkpoint);
  if (layers !== sizes.layers)
    throw fields.contradiction(`its config says ${sizes.layers} layers, and its tensors make ${layers}`);
  return {
    n_layers: sizes.layers,
    n_heads: heads,
    n_key_value_heads: kvHeads,
    d_model: sizes.model,
    d_head: head,
    d_mlp: sizes.mlp,
    n_ctx: sizes.context,
    d_vocab: sizes.vocab,
    act_fn: "silu",
    gated_mlp: true,
    attn_only: false,
    normalization_type: "RMS",
    eps: sizes.eps,
    final_norm: true,
    positional_embedding_type: "rotary",
    rotary_base: sizes.rotaryBase,
    rotary_dim: rotaryDim,
    tie_word_embeddings: isTied(checkpoint),
    attn_scale: 1 / Math.sqrt(head),
  };
}

/** Tied when there is no unembedding of its own; a Hugging Face config that says otherwise makes it a missing tensor. */
function isTied(checkpoint: Checkpoint): boolean {
  if (checkpoint.format === "gguf") return !checkpoint.tensors.has(NAMES.gguf.unembed);
  return (checkpoint.metadata["config"] as Record<string, unknown> | undefined)?.["tie_word_embeddings"] === true;
}

function parts(config: ModelConfig, checkpoint: Checkpoint): Record<string, Part> {
  const { n_layers, n_heads, n_key_value_heads, d_model, d_head, d_mlp, d_vocab } = config;
  const names = NAMES[checkpoint.format];
  const [queryRows, keyRows] = [n_heads * d_head, n_key_value_heads * d_head];
  const interleaved = checkpoint.format === "gguf"; // llama.cpp's converter permutes query and key rows
  const out: Record<string, Part> = {
    embed: [{ tensor: names.embed, shape: [d_vocab, d_model] }],
    "ln_final.w": [{ tensor: names.final, shape: [d_model] }],
  };
  if (!config.tie_word_embeddings) out["unembed"] = [{ tensor: names.unembed, shape: [d_vocab, d_model] }];
  for (let l = 0; l < n_layers; l++) {
    const name = (template: string) => template.replace("{l}", String(l));
    const qkv = (suffix: "weight" | "bias", columns: number[]): Piece[] => [
      {
        tensor: `${name(names.q)}.${suffix}`,
        shape: [queryRows, ...columns],
        permute: interleaved ? { rotaryHeads: n_heads } : "none",
      },
      {
        tensor: `${name(names.k)}.${suffix}`,
        shape: [keyRows, ...columns],
        permute: interleaved ? { rotaryHeads: n_key_value_heads } : "none",
      },
      { tensor: `${name(names.v)}.${suffix}`, shape: [keyRows, ...columns] },
    ];
    const block = `blocks.${l}`;
    out[`${block}.ln1.w`] = [{ tensor: name(names.ln1), shape: [d_model] }];
    out[`${block}.attn.qkv`] = qkv("weight", [d_model]);
    out[`${block}.attn.o`] = [{ tensor: `${name(names.o)}.weight`, shape: [d_model, queryRows] }];
    out[`${block}.ln2.w`] = [{ tensor: name(names.ln2), shape: [d_model] }];
    out[`${block}.mlp.in`] = [
      { tensor: name(names.gate), shape: [d_mlp, d_model] },
      { tensor: name(names.linear), shape: [d_mlp, d_model] },
    ];
    out[`${block}.mlp.out`] = [{ tensor: name(names.out), shape: [d_model, d_mlp] }];
    // Llama itself has no biases; its relatives may (attention_bias).
    if (checkpoint.tensors.has(`${name(names.q)}.bias`)) out[`${block}.attn.qkv_bias`] = qkv("bias", []);
    const outputBias = `${name(names.o)}.bias`;
    if (checkpoint.tensors.has(outputBias)) out[`${block}.attn.o_bias`] = [{ tensor: outputBias, shape: [d_model] }];
  }
  return out;
}

/**
 * Llama and what is built like it (SmolLM2, TinyLlama): RMSNorm, rotary positions, grouped queries, SwiGLU.
 * From GGUF and from Hugging Face's safetensors.
 */
export const llama: Family = { name: "llama", architectures: ["llama", "LlamaForCausalLM"], config, parts };
