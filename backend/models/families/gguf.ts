import type { ModelConfig } from "../config.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { Side } from "./family.ts";
import { Fields } from "./fields.ts";
import { ggufRotation, llama3Of } from "./gguf-rope.ts";
import { checkLayerCount, checkShape, checkTables } from "./hugging-face.ts";
import { partsOf, type TensorTable } from "./table.ts";

/**
 * Tensor names of llama.cpp for a model built like Llama. The rows of query and key are in Hugging Face's order but where
 * an architecture's converter interleaves them (`interleaved`: llama).
 */
export const GGUF_TABLE: TensorTable = {
  embed: "token_embd",
  unembed: "output",
  final: "output_norm",
  block: "blk.{l}.",
  ln1: "attn_norm",
  ln2: "ffn_norm",
  qkv: ["attn_q", "attn_k", "attn_v"],
  o: "attn_output",
  mlpIn: ["ffn_gate", "ffn_up"],
  mlpOut: "ffn_down",
  biases: { qkv: "optional", o: "optional" },
};

/** The same for a model built like GPT-2: fused query, key and value in that order, and an MLP without gate. */
export const GGUF_GPT_TABLE: TensorTable = {
  ...GGUF_TABLE,
  qkv: "attn_qkv",
  mlpIn: "ffn_up",
  biases: { qkv: "always", o: "always", mlp: "always" },
};

/** A family as llama.cpp keeps it. */
export interface Gguf {
  /** As `general.architecture` spells it, which the keys of its metadata start with. */
  readonly architecture: string;
  /** The family's reading of a config.json, which takes the translated metadata. */
  readonly config: (fields: Fields) => ModelConfig;
  readonly table: TensorTable;
  /** Default "rms". */
  readonly norm?: "rms" | "layer";
  /**
   * Gives fields of config.json beside those that all families share, or in their place.
   * @param keys the metadata of the architecture, without its name in front
   */
  readonly more?: (keys: Fields, shared: Shared) => Readonly<Record<string, unknown>>;
}

/** The fields of config.json that every family's metadata give, by Hugging Face's names. */
export type Shared = Readonly<Record<string, unknown>> & {
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly hidden_size: number;
  readonly head_dim: number;
};

/** The shortest decimal that a float32 number can have been: 1e-6 and not 9.999999974752427e-7. */
function decimal(value: number): number {
  const short = Number(value.toPrecision(7));
  return Math.fround(short) === Math.fround(value) ? short : value;
}

/** The one value of a list that has the same for every layer; anything else as it is. */
function uniform(value: unknown, layers: unknown): unknown {
  if (!ArrayBuffer.isView(value)) return value;
  const [first, ...others] = value as unknown as Iterable<unknown>;
  return others.length + 1 === layers && others.every((other) => other === first) ? first : value;
}

function sharedOf(keys: Fields, { metadata, tensors }: Checkpoint, { table, norm = "rms" }: Gguf): Shared {
  if (Number(keys.values["expert_count"] ?? 0) > 0) throw keys.unsupported("a mixture of experts");
  const heads = keys.count("attention.head_count");
  const model = keys.count("embedding_length");
  const head = keys.count("attention.key_length", model / heads);
  const values = keys.count("attention.value_length", head);
  if (values !== head) throw keys.unsupported(`values of ${values} dimensions beside keys of ${head}`);
  const tokens = metadata["tokenizer.ggml.tokens"];
  const vocab = Array.isArray(tokens) ? tokens.length : tensors.get(`${table.embed}.weight`)?.shape[0];
  const eps = decimal(
    keys.positive(norm === "rms" ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon"),
  );
  return {
    num_hidden_layers: keys.count("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: keys.count("attention.head_count_kv", heads),
    hidden_size: model,
    head_dim: head,
    intermediate_size: keys.count("feed_forward_length"),
    max_position_embeddings: keys.count("context_length"),
    vocab_size: keys.count("vocab_size", vocab),
    [norm === "rms" ? "rms_norm_eps" : "layer_norm_eps"]: eps,
    ...(tensors.has(`${table.block.replace("{l}", "0")}attn_q.bias`) ? { attention_bias: true } : {}),
    tie_word_embeddings: !tensors.has(`${table.unembed}.weight`),
    ...ggufRotation(keys, head),
  };
}

/** A window over which layers attend: absent or 0 for none. */
export function ggufWindow(keys: Fields, otherwise?: number): number | undefined {
  const key = "attention.sliding_window";
  return keys.values[key] === 0 || (keys.values[key] === undefined && otherwise === undefined)
    ? undefined
    : keys.count(key, otherwise);
}

/**
 * The GGUF side of a family: its metadata are translated to the fields of a config.json, which the family reads as it
 * reads its own.
 */
export function gguf(family: Gguf): Side {
  const { architecture, table, more } = family;
  const translate = (checkpoint: Checkpoint): Record<string, unknown> => {
    const start = `${architecture}.`;
    const entries = Object.entries(checkpoint.metadata).filter(([key]) => key.startsWith(start));
    const layers = checkpoint.metadata[`${start}block_count`];
    const values = Object.fromEntries(entries.map(([key, value]) => [key.slice(start.length), uniform(value, layers)]));
    const keys = new Fields(checkpoint.path, values, start);
    const shared = sharedOf(keys, checkpoint, family);
    return { ...shared, ...more?.(keys, shared) };
  };
  return {
    architectures: [architecture],
    configJson: (checkpoint) => {
      const config = translate(checkpoint);
      const scaling = llama3Of(checkpoint, config);
      if (scaling === undefined) return config;
      if (scaling.type === "llama3") {
        const { original_context, type, ...rest } = scaling;
        return {
          ...config,
          rope_scaling: { rope_type: type, ...rest, original_max_position_embeddings: original_context },
        };
      }
      throw new Fields(checkpoint.path, {}).unsupported("frequency factors that config.json has no field for");
    },
    config(checkpoint) {
      const fields = new Fields(checkpoint.path, translate(checkpoint));
      checkLayerCount(fields, checkpoint, table);
      const read = family.config(fields);
      const scaling = llama3Of(checkpoint, fields.values);
      const config = scaling ? { ...read, rotary_scaling: scaling } : read;
      checkShape(config, fields);
      // llama.cpp interleaves whole heads; which pairs a partial rotation means is then no longer the same.
      if (table.interleaved && config.rotary_dim !== config.d_head)
        throw fields.unsupported(`rotation of ${config.rotary_dim} of a head's ${config.d_head} dimensions`);
      checkTables(checkpoint, config, table);
      return config;
    },
    parts: (config, has) => partsOf(table, config, has),
    ignored: /^rope_freqs\.weight$/, // its numbers are in the config
  };
}
