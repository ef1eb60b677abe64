import { formatJson } from "../../json.ts";

/**
 * Fields of a config.json that transformers types as float, for every family: its strict configs refuse the int that 30 is.
 * (Annotations of the families' config classes and of RopeParameters, transformers 5.24.)
 */
const FLOAT_FIELDS: readonly string[] = [
  "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "initializer_range", "init_std",
  "attn_logit_softcapping", "final_logit_softcapping",
  "attention_dropout", "attn_pdrop", "classifier_dropout", "dropout", "embd_pdrop", "embed_dropout", "hidden_dropout",
  "layerdrop", "resid_dropout", "resid_pdrop", "summary_first_dropout",
  "rope_theta", "rotary_emb_base", "rope_local_base_freq", "partial_rotary_factor", "rotary_pct", "factor", "attention_factor",
  "beta_fast", "beta_slow", "low_freq_factor", "high_freq_factor", "mscale", "mscale_all_dim", "short_factor", "long_factor",
]; // biome-ignore format: a list

/** A number as Python's json writes a float, behind a mark that no field of a config holds. */
const MARK = "\u0000";
const MARKED = new RegExp(`"${JSON.stringify(MARK).slice(1, -1).replace("\\", "\\\\")}([^"]+)"`, "g");

/** The names of fields whose numbers a JSON text writes with a point. */
export function floatFieldsIn(text: string): string[] {
  return [...text.matchAll(/"(\w+)"\s*:\s*-?\d+\.\d/g)].map(([, name]) => name!);
}

/**
 * A config.json as Python reads it back: floats have a point (30.0 stays 30.0), and NaN and the infinities are written as
 * Python's json writes them.
 * @param more names of fields that are floats beside those that transformers has
 */
export function formatConfig(config: object, more: readonly string[] = []): string {
  const floats = new Set([...FLOAT_FIELDS, ...more]);
  const written = (value: unknown, isFloat: boolean): unknown => {
    if (typeof value === "number") return isFloat || !Number.isFinite(value) ? MARK + pythonFloat(value) : value;
    if (Array.isArray(value)) return value.map((entry) => written(entry, isFloat));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, written(entry, floats.has(key))]));
  };
  return formatJson(written(config, false)).replace(MARKED, "$1");
}

function pythonFloat(value: number): string {
  const text = String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}
