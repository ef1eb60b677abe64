import type { RotaryScaling } from "../config.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { Fields } from "./fields.ts";

/**
 * The rotation in a GGUF file's metadata, by the names of a config.json.
 * @param keys of the architecture, without its name in front
 * @param head dimensions of a head
 * @throws HeadscopeError "unsupported" for a scaling that headscope lacks
 */
export function ggufRotation(keys: Fields, head: number): Record<string, unknown> {
  const dimensions = keys.count("rope.dimension_count", head);
  const scaling = ggufScaling(keys);
  return {
    rope_theta: keys.positive("rope.freq_base", 10000),
    ...(dimensions === head ? {} : { partial_rotary_factor: shareOf(dimensions, head) }),
    ...(scaling ? { rope_scaling: scaling } : {}),
  };
}

/** The share of a head that readers multiply and round down to the dimensions again. */
function shareOf(dimensions: number, head: number): number {
  const share = dimensions / head;
  return Math.floor(share * head) === dimensions ? share : share * (1 + Number.EPSILON);
}

function ggufScaling(keys: Fields): Record<string, unknown> | undefined {
  const key = (name: string): string => `rope.scaling.${name}`;
  if (keys.optional("rope.scale_linear") !== undefined) {
    return { rope_type: "linear", factor: keys.positive("rope.scale_linear") }; // before 2023-11
  }
  switch (keys.text(key("type"), "none")) {
    case "none":
      return undefined;
    case "linear":
      return { rope_type: "linear", factor: keys.positive(key("factor")) };
    case "yarn":
      for (const name of ["attn_factor", "yarn_attn_factor", "yarn_ext_factor"]) {
        if ((keys.values[key(name)] ?? 1) !== 1) throw keys.refused(key(name), "1");
      }
      return {
        rope_type: "yarn",
        factor: keys.positive(key("factor")),
        original_max_position_embeddings: keys.count(key("original_context_length")),
        beta_fast: keys.positive(key("yarn_beta_fast"), 32),
        beta_slow: keys.positive(key("yarn_beta_slow"), 1),
      };
    default:
      throw keys.refused(key("type"), "none, linear and yarn");
  }
}

/** Llama 3's bands as every release of it has them. */
const [LOW, HIGH] = [1, 4];

/** Divisors of the frequencies by Llama 3's rule: 1 for short waves, `factor` for long ones, a mixture between. */
function llama3Factors(base: number, dimensions: number, factor: number, original: number): number[] {
  return Array.from({ length: dimensions / 2 }, (_, i) => {
    const turns = (original * base ** ((-2 * i) / dimensions)) / (2 * Math.PI);
    const share = Math.min(1, Math.max(0, (turns - LOW) / (HIGH - LOW)));
    return 1 / ((1 - share) / factor + share);
  });
}

/**
 * The scaling that a GGUF file keeps as a tensor, rope_freqs.weight: a divisor for each frequency. Where Llama 3's rule
 * gives these divisors it is that rule, so that the model is the one of its config.json to the last bit.
 * @param config the translated metadata: head_dim and rope_theta
 * @throws HeadscopeError "mismatch" when there are not as many divisors as frequencies
 */
export function llama3Of(checkpoint: Checkpoint, config: Readonly<Record<string, unknown>>): RotaryScaling | undefined {
  const divisors = checkpoint.metadata["rope_freqs.weight"];
  if (!(divisors instanceof Float32Array)) return undefined;
  const [dimensions, base] = [config["head_dim"] as number, config["rope_theta"] as number];
  const factors = [...divisors];
  if (factors.length !== dimensions / 2 || !factors.every((factor) => factor > 0)) {
    const what = `rope_freqs.weight holds ${factors.length} divisors; expected ${dimensions / 2} above 0`;
    throw new Fields(checkpoint.path, {}).contradiction(what);
  }
  const factor = Math.max(...factors);
  for (let original = 16; original <= 2 ** 20; original *= 2) {
    const rule = llama3Factors(base, dimensions, factor, original);
    if (rule.every((value, i) => Math.abs(value / factors[i]! - 1) < 1e-5)) {
      return { type: "llama3", factor, low_freq_factor: LOW, high_freq_factor: HIGH, original_context: original };
    }
  }
  return { type: "factors", factors };
}
