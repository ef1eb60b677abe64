import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import type { ModelConfig } from "../../backend/models/config.ts";
import type { Model } from "../../backend/models/model.ts";
import { ORDINALS, type PasskeyText, passkeyText } from "./passkeys.ts";

const LONGEST = 768;
const SHORTEST = 256;

/** Parameters of the texts with passkeys that gates are trained on, by the names of DuoAttention's config.json. */
export const passkeyParameters = {
  num_passkeys: z.int().min(1).max(ORDINALS.length).default(3).describe("passkeys in a text (DuoAttention: 10)"),
  passkey_length: z.int().min(1).default(8).describe("words of a passkey (DuoAttention: 32)"),
  context_length_min: z.int().min(16).default(SHORTEST).describe("tokens of the shortest texts (DuoAttention: 1000)"),
  context_length_max: z.int().min(16).default(LONGEST).describe("tokens of the longest texts (DuoAttention: 32000)"),
  context_lengths_num_intervals: z
    .int()
    .min(1)
    .default(3)
    .describe("different lengths, evenly spaced (DuoAttention: 50)"),
  min_needle_depth_ratio: z.number().min(0).max(1).default(0.05).describe("first place of a passkey: 0 is the start"),
  max_needle_depth_ratio: z.number().min(0).max(1).default(0.95).describe("last place of a passkey: 1 is the end"),
  depth_ratio_num_intervals: z.int().min(1).default(1000).describe("places to choose from between these"),
};
const schema = z.object(passkeyParameters);

/** Values of `passkeyParameters`. */
export type PasskeyParams = z.output<typeof schema>;

/**
 * Parameters as a model's context allows them: default lengths shrink.
 * @throws HeadscopeError (usage) for lengths of the user's that do not fit, or that are the wrong way round
 */
export function fitPasskeys({ n_ctx }: Pick<ModelConfig, "n_ctx">, params: PasskeyParams): PasskeyParams {
  const { context_length_min: low, context_length_max: high, num_passkeys, depth_ratio_num_intervals } = params;
  const longest = high === LONGEST ? Math.min(high, n_ctx) : high;
  const shortest = low === SHORTEST ? Math.min(low, longest) : low;
  const refuse = (what: string, remedy: string, field: string[]) =>
    new HeadscopeError("usage", what, { remedy, field });
  if (longest > n_ctx)
    throw refuse(`texts of ${longest} tokens exceed the context of ${n_ctx}`, `give at most ${n_ctx}`, [
      "context_length_max",
    ]);
  if (shortest > longest)
    throw refuse(`texts of at least ${shortest} and at most ${longest} tokens are none`, "give the shorter one first", [
      "context_length_min",
      "context_length_max",
    ]);
  if (depth_ratio_num_intervals < num_passkeys)
    throw refuse(`${num_passkeys} passkeys have ${depth_ratio_num_intervals} places`, "give as many places", [
      "depth_ratio_num_intervals",
      "num_passkeys",
    ]);
  return { ...params, context_length_min: shortest, context_length_max: longest };
}

/** The text of a step: lengths take turns. @param step from 0 */
export function passkeyOf(
  model: Model,
  params: PasskeyParams,
  { seed, step }: { seed: number; step: number },
): PasskeyText {
  const { context_length_min: low, context_length_max: high, context_lengths_num_intervals: count } = params;
  const which = step % count;
  const tokens = Math.round(low + (count === 1 ? high - low : ((high - low) * which) / (count - 1)));
  return passkeyText(model, {
    tokens,
    passkeys: params.num_passkeys,
    words: params.passkey_length,
    depths: [params.min_needle_depth_ratio, params.max_needle_depth_ratio],
    intervals: params.depth_ratio_num_intervals,
    seed,
    number: step,
  });
}
