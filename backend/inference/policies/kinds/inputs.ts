import type { z } from "zod";
import type { Attending } from "../attention.ts";
import type { PolicyDefinition } from "./definition.ts";
import type { LayerView } from "./tokens.ts";

/** A policy that chooses, once, the tokens of a prompt that go through the whole model. */
export interface FilterPolicy<S extends z.ZodObject = z.ZodObject> extends PolicyDefinition<S> {
  readonly chooses: "inputs";
  /** First layers that read the whole prompt once. @param layers of the model */
  layers(params: z.output<S>, layers: number): number;
  /**
   * The tokens that the whole model then reads, at positions from 0 on; the last is among them. Runs in a tidy.
   * @param view of the last of these layers, with the queries of the prompt's last token
   * @param count of the tokens, by the ratio or the budget
   * @returns places in the prompt, ascending
   */
  choose(view: LayerView, count: number, params: z.output<S>): number[];
}

/**
 * A policy that chooses, for the prompt and for each new token, the tokens that go on to the model's later layers: fewer and fewer with
 * depth. Those that a layer has not run on yet wait before it, and come back where a later choice wants them.
 */
export interface PruningPolicy<S extends z.ZodObject = z.ZodObject> extends PolicyDefinition<S> {
  readonly chooses: "inputs";
  /** True where the parameters say how many go on, and no budget is given. */
  decides?(params: z.output<S>): boolean;
  /** Insists on parameters that go together, before a model is loaded. @throws HeadscopeError (usage) */
  check?(params: z.output<S>): void;
  /** Numbers of first layers behind which tokens are left out, ascending. @param layers of the model @throws HeadscopeError (usage) */
  stages(params: z.output<S>, layers: number): readonly number[];
  /** By stage, the percentile of attention below which tokens are left out; 0 leaves none out. @param tokens of the prompt */
  percentiles(params: z.output<S>, stages: number, tokens: number): readonly number[];
  /**
   * The tokens that go on; the last is among them. Runs in a tidy.
   * @param view of the layer before, with the query of the last token and the keys of the tokens that have come so far
   * @returns places among the keys, ascending
   */
  goOn(view: Attending, percentile: number): number[];
}

/** A policy that chooses the tokens of a prompt that go through the model, or through its later layers. */
export type InputPolicy<S extends z.ZodObject = z.ZodObject> = FilterPolicy<S> | PruningPolicy<S>;

/** True of a policy that leaves out tokens layer by layer. */
export function prunes(policy: InputPolicy): policy is PruningPolicy {
  return "stages" in policy;
}
