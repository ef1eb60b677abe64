import type { z } from "zod";
import { counted } from "../../../common/text.ts";
import { SQUARE } from "../../../kernels/attend.ts";
import type { ModelConfig } from "../../../models/config.ts";

/** Things that a model, or its context, has a number of, and what an error calls that which has them. */
export interface Unit {
  readonly owner: (params: Readonly<Record<string, unknown>>) => string;
  readonly noun: string;
  /** @param params of the policy, on which the number may depend */
  readonly most: (config: ModelConfig, params: Readonly<Record<string, unknown>>) => number;
}

const context = () => "the context";
const numberOf = (params: Readonly<Record<string, unknown>>, name: string): number => Number(params[name] ?? 1);

/** Units of parameters: in each a model with its context has so many, and no parameter can name more. */
export const UNITS = {
  layers: { owner: () => "the model", noun: "layer", most: ({ n_layers }) => n_layers },
  tokens: { owner: context, noun: "token", most: ({ n_ctx }) => n_ctx },
  /** Stretches of 64 positions. */
  squares: { owner: context, noun: "square", most: ({ n_ctx }) => Math.ceil(n_ctx / SQUARE) },
  /** Stretches of as many tokens as the parameter `chunk` says. */
  chunks: { owner: context, noun: "chunk", most: ({ n_ctx }, params) => Math.ceil(n_ctx / numberOf(params, "chunk")) },
  /** Channels of all KV heads of one layer, or of as many side by side as the parameter `layers` says. */
  ranks: {
    owner: (params) => counted(numberOf(params, "layers"), "layer"),
    noun: "channel",
    most: ({ n_key_value_heads, d_head }, params) => n_key_value_heads * d_head * numberOf(params, "layers"),
  },
} satisfies Record<string, Unit>;
/** One of `UNITS`. */
export type UnitName = keyof typeof UNITS;

/**
 * A parameter, or a list, of numbers in a unit: more than a model or its context has are refused before its weights are read.
 * @param schema with its description and default
 */
export function inUnit<S extends z.ZodType>(unit: UnitName, schema: S): S {
  return schema.meta({ unit }) as S;
}
