/** Rules by which queries weigh keys, `softmax` being that of pretrained models; backend/models/transformer/kernels computes them. */
export const ATTENTION_KERNELS = [
  "softmax",
  "sigmoid",
  "sigmoid-normalised",
  "linear",
  "polynomial",
  "key-bias",
  "key-value-bias",
  "sink-logit",
] as const;
/** One of `ATTENTION_KERNELS`. */
export type AttentionKernelName = (typeof ATTENTION_KERNELS)[number];

/** The fields of a model's config that have to go together with its attention. */
export interface AttentionFields {
  readonly attention?: AttentionKernelName | undefined;
  readonly attention_power?: number | undefined;
  readonly attn_scores_soft_cap?: number | undefined;
  readonly positional_embedding_type: string;
}

/** A contradiction between an attention kernel and another field of a config. */
export interface AttentionFault {
  /** Fields of which one must change. */
  readonly fields: readonly (keyof AttentionFields)[];
  readonly constraint: string;
  readonly remedy: string;
}

/** The first contradiction between a config's attention kernel and its other fields; undefined where they go together. */
export function attentionFault(config: AttentionFields): AttentionFault | undefined {
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
