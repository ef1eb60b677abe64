import type { z } from "zod";
import type { PolicyDefinition } from "./definition.ts";
import type { LayerView } from "./tokens.ts";

/** A policy that chooses the tokens of a prompt that go through the model, or through its later layers. */
export interface InputPolicy<S extends z.ZodObject = z.ZodObject> extends PolicyDefinition<S> {
  readonly chooses: "inputs";
  /** First layers that read the whole prompt once. @param layers of the model @throws HeadscopeError (usage) for more than there are */
  layers(params: z.output<S>, layers: number): number;
  /**
   * The tokens that the whole model then reads, at positions from 0 on; the last is among them. Runs in a tidy.
   * @param view of the last of these layers, with the queries of the prompt's last token
   * @param count of the tokens, by the ratio or the budget
   * @returns places in the prompt, ascending
   */
  choose(view: LayerView, count: number, params: z.output<S>): number[];
}
