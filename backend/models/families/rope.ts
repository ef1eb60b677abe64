import type { ModelConfig, RotaryScaling } from "../config.ts";
import type { Fields } from "./fields.ts";

/** The fields of a config that say how heads are rotated. */
export type RotationFields = Pick<ModelConfig, "rotary_base" | "rotary_dim" | "rotary_scaling">;

/**
 * Reads the rotation from a config.json: `rope_parameters` as transformers 5 writes it, or `rope_theta`, `rope_scaling` and
 * `partial_rotary_factor` of older ones.
 * @param head dimensions of a head
 * @param usual base where the config names none
 * @throws HeadscopeError "unsupported" for a scaling that headscope lacks, "missing" or "corrupt" for its fields
 */
export function rotationOf(fields: Fields, head: number, usual = 10000): RotationFields {
  const inner = fields.object("rope_parameters") ?? fields.object("rope_scaling");
  const base = inner?.optional("rope_theta") ?? fields.positive("rope_theta", usual);
  const share = inner?.optional("partial_rotary_factor") ?? fields.positive("partial_rotary_factor", 1);
  const scaling = inner && scalingOf(inner, fields.count("max_position_embeddings"));
  return { rotary_base: base, rotary_dim: Math.floor(head * share), ...(scaling ? { rotary_scaling: scaling } : {}) };
}

/**
 * The scaling of rotary frequencies.
 * @param fields of `rope_parameters` or `rope_scaling`
 * @param context longest sequence of the model, where the scaling doesn't say which length it was trained with
 * @returns undefined for none
 */
export function scalingOf(fields: Fields, context: number): RotaryScaling | undefined {
  const key = fields.values["rope_type"] == null && fields.values["type"] != null ? "type" : "rope_type";
  switch (fields.text(key, "default")) {
    case "default":
      return undefined;
    case "linear":
      return { type: "linear", factor: fields.positive("factor") };
    case "llama3":
      return {
        type: "llama3",
        factor: fields.positive("factor"),
        low_freq_factor: fields.positive("low_freq_factor"),
        high_freq_factor: fields.positive("high_freq_factor"),
        original_context: fields.count("original_max_position_embeddings"),
      };
    case "yarn":
      return yarn(fields, context);
    default:
      throw fields.refused(key, "default, linear, llama3 and yarn");
  }
}

/** YaRN (Peng et al. 2023) with transformers' defaults; the attention factor scales cosines and sines. */
function yarn(fields: Fields, context: number): RotaryScaling {
  const original = fields.count("original_max_position_embeddings", context);
  // Without a factor it is the ratio of the lengths, which needs both.
  const ratio = fields.values["original_max_position_embeddings"] == null ? undefined : context / original;
  const factor = fields.positive("factor", ratio);
  const scale = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  const [mscale, all] = [fields.optional("mscale"), fields.optional("mscale_all_dim")];
  const implied = mscale !== undefined && all !== undefined ? scale(mscale) / scale(all) : scale(1);
  return {
    type: "yarn",
    factor,
    original_context: original,
    beta_fast: fields.positive("beta_fast", 32),
    beta_slow: fields.positive("beta_slow", 1),
    attention_factor: fields.optional("attention_factor") ?? implied,
    truncate: fields.flag("truncate", true),
  };
}
