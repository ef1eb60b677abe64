import type { Data } from "../common/api/fields.ts";
import type { modelConfigSchema, rotaryScaling } from "../common/api/model-config.ts";
import { HeadscopeError } from "../common/errors.ts";
import type { MixerName } from "../common/words.ts";

/** Stretching of rotary frequencies for longer contexts. */
export type RotaryScaling = Data<typeof rotaryScaling>;

/** The shape of a transformer, with TransformerLens's field names. One forward serves every value of these fields. */
export type ModelConfig = Data<typeof modelConfigSchema>;

/** Outputs of a model at each position. */
export function outputWidth(config: ModelConfig): number {
  return config.d_vocab_out ?? config.d_vocab;
}

/** Most positions of a row: those of its context, and the vectors of a soft prompt before them. */
export function mostPositions({ n_ctx, soft_prompt = 0 }: Pick<ModelConfig, "n_ctx" | "soft_prompt">): number {
  return n_ctx + soft_prompt;
}

/** Keys that a query of a layer reaches, its own included; undefined where it reaches all before it. */
export function localWindow(config: ModelConfig, layer: number): number | undefined {
  const type = config.attn_types?.[layer] ?? (config.window_size === undefined ? "global" : "local");
  return type === "local" ? config.window_size : undefined;
}

/** The way in which the tokens of a layer read earlier ones. */
export function mixerOf({ mixer }: Pick<ModelConfig, "mixer">, layer: number): MixerName {
  return mixer?.[layer] ?? "attention";
}

/** Numbers of a head's key or query in a layer. */
export function keyWidth(config: Pick<ModelConfig, "mixer" | "d_head" | "state" | "key_width">, layer: number): number {
  const { d_head, state = d_head, key_width = d_head } = config;
  return mixerOf(config, layer) === "attention" ? key_width : state;
}

/** Heads of a layer, and numbers of each. */
export interface HeadShape {
  /** Query heads. */
  readonly queries: number;
  /** Heads of keys: query head h reads the key of head floor(h · keys / queries). */
  readonly keys: number;
  /** Heads of values, read alike. */
  readonly values: number;
  /** Numbers of a query and a key. */
  readonly keyWidth: number;
  /** Numbers of a value and of a head's output. */
  readonly valueWidth: number;
}

/** The heads of a model's attention; with a layer, of its attention or its recurrence. */
export function headShape(config: ModelConfig, layer?: number): HeadShape {
  const { n_heads, n_key_value_heads, d_head, key_width = d_head, value_width = d_head } = config;
  const { key_heads = n_key_value_heads, value_heads = n_key_value_heads } = config;
  return {
    ...{ queries: n_heads, keys: key_heads, values: value_heads, valueWidth: value_width },
    keyWidth: layer === undefined ? key_width : keyWidth(config, layer),
  };
}

/** Fields of a config by which keys and values differ in number or width. */
export const HEAD_FIELDS = ["key_heads", "value_heads", "key_width", "value_width"] as const;

/** Tells whether keys and values differ in number or width, or are of other widths than d_head. */
export function hasUnequalHeads(config: Partial<Pick<ModelConfig, (typeof HEAD_FIELDS)[number]>>): boolean {
  return HEAD_FIELDS.some((field) => config[field] !== undefined);
}

/** The config of a model, or a config itself. @throws HeadscopeError (usage) for anything else */
export function configOf(model: ModelConfig | { readonly config: ModelConfig }): ModelConfig {
  const config = model && "config" in model ? model.config : (model as ModelConfig | undefined);
  if (Number.isInteger(config?.n_layers)) return config!;
  throw new HeadscopeError("usage", "what was given is neither a model nor its config", {
    remedy: "give what loadModel returned",
  });
}
