import { z } from "zod";
import { counted } from "../text.ts";
import { ATTENTION_KERNELS, type AttentionKernelName, MIXERS, type MixerName } from "../words.ts";

/** A width, a count of heads, a vocabulary: beyond what any model has, and small enough that a product of two is exact. */
const size = z
  .int()
  .min(1)
  .max(2 ** 24);
const number = z.number();
const positive = z.number().positive();

/**
 * Schema of the stretching of rotary frequencies for longer contexts: evenly, by Llama 3's three bands, by YaRN's ramp between
 * two numbers of rotations, or each by a divisor of its own (GGUF stores Llama 3's so). A bound for every field alone; what
 * they come to together is compared with the tensors.
 */
export const rotaryScaling = z.discriminatedUnion("type", [
  z.object({ type: z.literal("linear"), factor: positive }),
  z.object({
    type: z.literal("llama3"),
    factor: positive,
    low_freq_factor: positive,
    high_freq_factor: positive,
    /** Tokens of the context that the frequencies were trained on. */
    original_context: positive,
  }),
  z.object({
    type: z.literal("yarn"),
    factor: positive,
    original_context: positive,
    /** Rotations over the original context above which a frequency is kept, default 32. */
    beta_fast: positive.exactOptional(),
    /** Rotations below which a frequency is divided by the whole factor, default 1. */
    beta_slow: positive.exactOptional(),
    /** Factor on cosines and sines; by default it follows from factor and, where both are given, the two mscales. */
    attention_factor: positive.exactOptional(),
    mscale: number.exactOptional(),
    mscale_all_dim: number.exactOptional(),
    /** Begins and ends the ramp at whole dimensions, default true. */
    truncate: z.boolean().exactOptional(),
  }),
  z.object({
    type: z.literal("factors"),
    /** A divisor for every frequency [rotary_dim / 2]. */
    factors: z.array(positive).max(4_096),
    attention_factor: positive.exactOptional(),
  }),
]);

/** The fields of a model's config that have to go together with its attention. */
export interface AttentionFields {
  readonly attention?: AttentionKernelName | undefined;
  readonly attention_power?: number | undefined;
  readonly attn_scores_soft_cap?: number | undefined;
  readonly positional_embedding_type: string;
}

/** The fields of a model's config that have to go together with its layers' mixers. */
export interface MixerFields {
  readonly n_layers: number;
  readonly mixer?: readonly MixerName[] | undefined;
  readonly state?: number | undefined;
  readonly attention?: AttentionKernelName | undefined;
  readonly attention_power?: number | undefined;
}

/** The fields of a model's config that have to go together with its bottleneck. */
export interface BottleneckFields {
  readonly bottleneck?: { readonly codes: number; readonly heads: number } | undefined;
  readonly d_model: number;
  readonly d_input?: number | undefined;
  readonly soft_prompt?: number | undefined;
}

/** The fields of a model's config that say how many keys and values its heads have, and how wide they are. */
export interface HeadFields {
  readonly n_heads: number;
  readonly key_heads?: number | undefined;
  readonly value_heads?: number | undefined;
  readonly key_width?: number | undefined;
  readonly value_width?: number | undefined;
  readonly positional_embedding_type: string;
  readonly mixer?: readonly MixerName[] | undefined;
}

/** A contradiction between fields of a config. */
export interface ConfigFault<F> {
  /** Fields of which one must change. */
  readonly fields: readonly (keyof F & string)[];
  readonly constraint: string;
  readonly remedy: string;
}

/** The first contradiction between a config's attention kernel and its other fields; undefined where they go together. */
export function attentionFault(config: AttentionFields): ConfigFault<AttentionFields> | undefined {
  const { attention = "softmax", attention_power, attn_scores_soft_cap, positional_embedding_type } = config;
  if (attention_power !== undefined && attention !== "polynomial")
    return {
      fields: ["attention_power", "attention"],
      constraint: `attention_power is of polynomial attention, and attention is ${attention}`,
      remedy: "leave attention_power out, or say attention=polynomial",
    };
  if (attention !== "linear") return undefined;
  if (positional_embedding_type === "rotary")
    return {
      fields: ["attention", "positional_embedding_type"],
      constraint:
        "linear attention multiplies features of queries and keys, and those of rotated ones do not depend on their distance",
      remedy: "say positional_embedding_type=standard or none, or take another attention",
    };
  if (attn_scores_soft_cap !== undefined)
    return {
      fields: ["attention", "attn_scores_soft_cap"],
      constraint: "linear attention has no scores that a soft cap could bound",
      remedy: "leave attn_scores_soft_cap out",
    };
  return undefined;
}

/** The first contradiction between the numbers and widths of a config's keys and values and its other fields; undefined where they go together. */
export function headFault(config: HeadFields): ConfigFault<HeadFields> | undefined {
  const { n_heads, key_width, positional_embedding_type, mixer = [] } = config;
  const uneven = (["key_heads", "value_heads"] as const).find((field) => n_heads % (config[field] ?? 1) !== 0);
  if (uneven)
    return {
      fields: [uneven, "n_heads"],
      constraint: `${config[uneven]} ${uneven} can't be shared evenly by ${n_heads} query heads`,
      remedy: "give a divisor of n_heads",
    };
  if (positional_embedding_type === "rotary" && (key_width ?? 2) % 2 === 1)
    return {
      fields: ["key_width", "positional_embedding_type"],
      constraint: `rotary positions turn pairs of numbers, and keys have ${key_width}`,
      remedy: "give an even key_width",
    };
  const field = (["key_heads", "value_heads", "key_width", "value_width"] as const).find(
    (name) => config[name] !== undefined,
  );
  const recurrent = mixer.findIndex((name) => name !== "attention");
  if (field === undefined || recurrent < 0) return undefined;
  return {
    fields: [field, "mixer"],
    constraint: `${field} is of attention, and layer ${recurrent} has a recurrence`,
    remedy: `leave ${field} out, or give every layer attention`,
  };
}

/** The first contradiction between the mixers of a config's layers and its other fields; undefined where they go together. */
export function mixerFault(config: MixerFields): ConfigFault<MixerFields> | undefined {
  const { n_layers, mixer = [], state, attention, attention_power } = config;
  if (mixer.length > 0 && mixer.length !== n_layers)
    return {
      fields: ["mixer", "n_layers"],
      constraint: `mixer names ${mixer.length} layers, and the model has ${n_layers}`,
      remedy: "name one mixer for every layer",
    };
  const recurrent = mixer.filter((name) => name !== "attention").length;
  if (state !== undefined && recurrent === 0)
    return {
      fields: ["state", "mixer"],
      constraint: "state is the size of a recurrence, and every layer has attention",
      remedy: "leave state out, or say mixer=selective or linear-recurrence",
    };
  const kernel = attention ? "attention" : attention_power === undefined ? undefined : "attention_power";
  if (kernel !== undefined && recurrent === n_layers)
    return {
      fields: [kernel, "mixer"],
      constraint: `${kernel} is of attention layers, and no layer has attention`,
      remedy: `leave ${kernel} out, or give a layer attention`,
    };
  return undefined;
}

/** The first contradiction between a config's bottleneck and its other fields; undefined where they go together. */
export function bottleneckFault({
  bottleneck,
  d_model,
  d_input,
  soft_prompt,
}: BottleneckFields): ConfigFault<BottleneckFields> | undefined {
  if (bottleneck === undefined) return undefined;
  if (d_model % bottleneck.heads !== 0)
    return {
      fields: ["bottleneck", "d_model"],
      constraint: `${counted(bottleneck.heads, "head")} of codes do not divide the ${d_model} numbers of the stream`,
      remedy: "give a number of heads that divides d_model",
    };
  if (d_input !== undefined)
    return {
      fields: ["bottleneck", "d_input"],
      constraint: "behind a bottleneck the output is computed from a code and a token, and this model reads vectors",
      remedy: "leave the bottleneck out, or take a task of tokens",
    };
  if (soft_prompt)
    return {
      fields: ["bottleneck", "soft_prompt"],
      constraint: "behind a bottleneck the output is computed from a code and a token, and a soft prompt has no tokens",
      remedy: "leave the bottleneck or the soft prompt out",
    };
  return undefined;
}

/** The shape of a transformer as a file may give it: every field of `ModelConfig` with the values that it can have. */
export const modelConfigSchema = z
  .object({
    n_layers: z.int().min(1).max(4_096),
    /** Query heads of a layer. */
    n_heads: z.int().min(1).max(65_536),
    /** Key and value heads of a layer; `n_heads` is a multiple of it (grouped-query attention when smaller). */
    n_key_value_heads: z.int().min(1).max(65_536),
    /** Heads of keys where they are not n_key_value_heads; n_heads is a multiple of it. */
    key_heads: z.int().min(1).max(65_536).exactOptional(),
    /** Heads of values, alike. */
    value_heads: z.int().min(1).max(65_536).exactOptional(),
    d_model: size,
    d_head: size,
    /** Numbers of a query and a key where they are not d_head. */
    key_width: size.exactOptional(),
    /** Numbers of a value and of a head's output where they are not d_head. */
    value_width: size.exactOptional(),
    d_mlp: z
      .int()
      .min(0)
      .max(2 ** 24),
    /** Longest sequence in tokens. */
    n_ctx: z
      .int()
      .min(1)
      .max(2 ** 20),
    d_vocab: size,
    act_fn: z.enum(["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu"]),
    /** Gated MLP: multiplies act(gate) with a linear part (SwiGLU and its kin). */
    gated_mlp: z.boolean(),
    attn_only: z.boolean(),
    normalization_type: z.enum(["RMS", "LN"]).nullable(),
    eps: z.number().min(0).max(1),
    /** True with a norm between the last residual and the unembedding. */
    final_norm: z.boolean(),
    positional_embedding_type: z.enum(["rotary", "standard", "none"]),
    rotary_base: positive,
    /** Leading dimensions of a head that are rotated, in half-split order; `d_head` for all. */
    rotary_dim: z
      .int()
      .min(0)
      .max(2 ** 24),
    tie_word_embeddings: z.boolean(),
    /** Factor on query · key, usually 1 / sqrt(d_head). */
    attn_scale: number,
    /** Rule by which queries weigh keys, default softmax. */
    attention: z.enum(ATTENTION_KERNELS).exactOptional(),
    /** Of polynomial attention: the even power of the scores, default 2. */
    attention_power: z.int().min(2).max(8).multipleOf(2).exactOptional(),
    /** By layer, default attention everywhere. */
    mixer: z.array(z.enum(MIXERS)).max(4_096).exactOptional(),
    /** Numbers of a key and a query in a recurrent layer, default d_head: a head's state is as many times d_head numbers. */
    state: z.int().min(1).max(4_096).exactOptional(),
    /** Attention and MLP both read the block's input, each through its own norm, and both add to it. */
    parallel_attn_mlp: z.boolean().exactOptional(),
    /**
     * Places of a block's norms: before attention and MLP (default), after them, on what they add to the stream
     * (ln1_post and ln2_post), or both.
     */
    norm_placement: z.enum(["pre", "post", "both"]).exactOptional(),
    /** RMS norm of queries and keys before the rotation: over each head's d_head, or over all heads together. */
    qk_norm: z.enum(["head", "all"]).exactOptional(),
    /** Attention scores become cap * tanh(score / cap) before the mask. */
    attn_scores_soft_cap: positive.exactOptional(),
    /** Logits become cap * tanh(logit / cap). */
    output_logits_soft_cap: positive.exactOptional(),
    /** Keys that a query of a local layer reaches, its own included. */
    window_size: size.exactOptional(),
    /** By layer; default all local where window_size is given, else all global. */
    attn_types: z
      .array(z.enum(["global", "local"]))
      .max(4_096)
      .exactOptional(),
    /** Factor on the embedding of a token; hook_embed is after it. */
    embed_scale: number.exactOptional(),
    rotary_scaling: rotaryScaling.exactOptional(),
    /** Rotation of local layers where it differs from the global ones'. */
    rotary_local: z.object({ base: positive, scaling: rotaryScaling.exactOptional() }).exactOptional(),
    /** Width of the vectors that go in at each position, in a model that reads vectors instead of token ids. */
    d_input: size.exactOptional(),
    /** Outputs at a position where they are not the d_vocab tokens (TransformerLens's d_vocab_out): other classes, or values. */
    d_vocab_out: size.exactOptional(),
    /** Learned vectors before the sequence; at its tokens all else is as without them. */
    soft_prompt: z.int().min(1).max(4_096).exactOptional(),
    /** Widths of the ReLU layers between the last residual and the output. */
    readout_hidden: z.array(size).max(64).exactOptional(),
    /** A discrete bottleneck before those layers: `codes` vectors for each of `heads` parts of the normalised stream. */
    bottleneck: z.object({ codes: z.int().min(2).max(65_536), heads: z.int().min(1).max(65_536) }).exactOptional(),
  })
  .refine(({ n_heads, n_key_value_heads }) => n_heads % n_key_value_heads === 0, {
    path: ["n_heads"],
    message: "it is no multiple of n_key_value_heads",
  })
  .refine(
    ({ rotary_dim, d_head, key_width = d_head, positional_embedding_type: positions }) =>
      rotary_dim <= key_width && (positions !== "rotary" || rotary_dim % 2 === 0),
    { path: ["rotary_dim"], message: "it is odd, or more than the width of a key" },
  )
  .refine(({ attn_types, n_layers }) => attn_types === undefined || attn_types.length === n_layers, {
    path: ["attn_types"],
    message: "it does not name every layer",
  })
  .refine(
    ({ mixer = [], n_heads, n_key_value_heads }) =>
      mixer.every((name) => name === "attention") || n_heads === n_key_value_heads,
    {
      path: ["mixer"],
      message: "a recurrent layer has a key for every query head",
    },
  )
  .superRefine((config, context) => {
    const fault = attentionFault(config) ?? mixerFault(config) ?? headFault(config) ?? bottleneckFault(config);
    if (fault) context.addIssue({ code: "custom", path: [fault.fields[0]!], message: fault.constraint });
  });
