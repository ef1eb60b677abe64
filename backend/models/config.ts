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
export function keyWidth(config: Pick<ModelConfig, "mixer" | "d_head" | "state">, layer: number): number {
  return mixerOf(config, layer) === "attention" ? config.d_head : (config.state ?? config.d_head);
}

/** The config of a model, or a config itself. @throws HeadscopeError (usage) for anything else */
export function configOf(model: ModelConfig | { readonly config: ModelConfig }): ModelConfig {
  const config = model && "config" in model ? model.config : (model as ModelConfig | undefined);
  if (Number.isInteger(config?.n_layers)) return config!;
  throw new HeadscopeError("usage", "what was given is neither a model nor its config", {
    remedy: "give what loadModel returned",
  });
}
