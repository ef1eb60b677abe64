import { counted } from "../common/text.ts";
import { MIXERS } from "../common/words.ts";
import { hasUnequalHeads, headShape, type ModelConfig, mixerOf } from "./config.ts";
import { kernelOf } from "./transformer/kernels/index.ts";
import { recurrenceNamed } from "./transformer/mixers/index.ts";

/** Groups of a block's biases, each with the part that tells whether the block has them. */
const BIASES = {
  "query, key and value": "attn.qkv_bias",
  "attention output": "attn.o_bias",
  MLP: "mlp.in_bias",
} as const;
export type BiasGroup = keyof typeof BIASES;

/**
 * The features of a model in words: "3 KV heads for 9 query heads", "window of 4,096 tokens in 13 of 26 layers".
 * @param biases that its blocks have
 */
export function featuresOf(config: ModelConfig, biases: readonly BiasGroup[]): string[] {
  return [
    ...positions(config),
    ...(config.soft_prompt ? [`soft prompt of ${counted(config.soft_prompt, "vector")}`] : []),
    ...recurrences(config),
    ...attention(config),
    ...(config.normalization_type === null
      ? ["no norms"]
      : [config.normalization_type === "LN" ? "layer norm" : "RMS norm"]),
    ...(config.norm_placement === "post" ? ["norms after attention and MLP"] : []),
    ...(config.norm_placement === "both" ? ["norms before and after attention and MLP"] : []),
    ...(config.parallel_attn_mlp ? ["attention and MLP in parallel"] : []),
    ...(config.attn_only ? ["no MLP"] : [`${config.gated_mlp ? "gated " : ""}MLP with ${config.act_fn}`]),
    ...biasWords(config, biases),
    ...(config.bottleneck ? [bottleneckWords(config.bottleneck)] : []),
    ...(config.embed_scale ? [`embedding times ${rounded(config.embed_scale)}`] : []),
    ...(config.output_logits_soft_cap ? [`logits capped at ${config.output_logits_soft_cap}`] : []),
    config.tie_word_embeddings ? "tied embeddings" : "untied embeddings",
  ];
}

function bottleneckWords({ codes, heads }: NonNullable<ModelConfig["bottleneck"]>): string {
  return `bottleneck of ${codes} codes${heads > 1 ? ` for each of ${heads} heads` : ""}`;
}

function biasWords(config: ModelConfig, biases: readonly BiasGroup[]): string[] {
  if (biases.length === 0) return [];
  return biases.length === (config.attn_only ? 2 : 3)
    ? ["biases everywhere"]
    : [`biases of ${biases.join(" and of ")}`];
}

function positions(config: ModelConfig): string[] {
  const { positional_embedding_type: type, rotary_dim, d_head, rotary_scaling, rotary_local } = config;
  if (type !== "rotary") return [type === "standard" ? "learned positions" : "no positions"];
  return [
    rotary_dim === d_head ? "rotary positions" : `rotary positions in ${rotary_dim} of ${d_head} dimensions`,
    ...(rotary_scaling ? [`rotation scaled (${scalingWords(rotary_scaling)})`] : []),
    ...(rotary_local ? [`local layers rotated with base ${rotary_local.base.toLocaleString("en-US")}`] : []),
  ];
}

function scalingWords(scaling: NonNullable<ModelConfig["rotary_scaling"]>): string {
  return "factor" in scaling ? `${scaling.type}, factor ${rounded(scaling.factor)}` : scaling.type;
}

function recurrences(config: ModelConfig): string[] {
  const { n_layers, state = config.d_head } = config;
  const layers = Array.from({ length: n_layers }, (_, layer) => mixerOf(config, layer));
  return MIXERS.flatMap((name) => {
    const count = layers.filter((each) => each === name).length;
    const mixer = recurrenceNamed(name);
    if (mixer === undefined || count === 0) return [];
    return [`${mixer.title} of ${state} x ${config.d_head} numbers a head in ${count} of ${n_layers} layers`];
  });
}

function attention(config: ModelConfig): string[] {
  const { n_heads, n_key_value_heads, n_layers, window_size, attn_types, qk_norm, attn_scores_soft_cap } = config;
  const local = attn_types ? attn_types.filter((type) => type === "local").length : n_layers;
  const windowed = window_size !== undefined && local > 0;
  return [
    ...(config.attention ? [kernelOf(config).title] : []),
    ...(n_key_value_heads < n_heads && !hasUnequalHeads(config)
      ? [`${n_key_value_heads} KV heads for ${n_heads} query heads`]
      : []),
    ...unequalHeads(config),
    ...(windowed
      ? [
          `window of ${window_size.toLocaleString("en-US")} tokens${local < n_layers ? ` in ${local} of ${n_layers} layers` : ""}`,
        ]
      : []),
    ...(qk_norm ? [qk_norm === "head" ? "query and key norm by head" : "query and key norm over all heads"] : []),
    ...(attn_scores_soft_cap ? [`attention scores capped at ${attn_scores_soft_cap}`] : []),
    ...(Math.abs(config.attn_scale * Math.sqrt(headShape(config).keyWidth) - 1) > 1e-6
      ? [`attention scaled by ${rounded(config.attn_scale)}`]
      : []),
  ];
}

function unequalHeads(config: ModelConfig): string[] {
  if (!hasUnequalHeads(config)) return [];
  const { queries, keys, values, keyWidth, valueWidth } = headShape(config);
  return [`${keys} key heads of ${keyWidth} and ${values} value heads of ${valueWidth} for ${queries} query heads`];
}

function rounded(value: number): string {
  return String(Number(value.toPrecision(4)));
}

/** Groups of biases that a model's first block has. @param parts names of the model's parts */
export function biasesOf(parts: Iterable<string>): BiasGroup[] {
  const names = new Set(parts);
  return (Object.keys(BIASES) as BiasGroup[]).filter((group) => names.has(`blocks.0.${BIASES[group]}`));
}
