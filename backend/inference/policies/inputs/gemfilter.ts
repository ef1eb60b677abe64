import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { patternOf } from "../attention.ts";
import type { FilterPolicy } from "../kinds/inputs.ts";
import { budgetParameters } from "../kinds/parameters.ts";
import { inUnit } from "../kinds/units.ts";

/** The paper's layer, of a model of 32. */
const LAYER = 13 / 32;

const parameters = z.object({
  ...budgetParameters,
  budget: budgetParameters.budget.describe("tokens of the prompt that the whole model reads, instead of a ratio"),
  layer: inUnit(
    "layers",
    z
      .int()
      .min(1)
      .optional()
      .describe(
        "number of first layers that read the whole prompt, of which the last chooses; 13 of 32 unless told otherwise",
      ),
  ),
});

/** Tokens that the first layers find for the whole model. */
export const gemfilter: FilterPolicy<typeof parameters> = {
  name: "gemfilter",
  title: "Tokens that the first layers find",
  description:
    "The first layers read the whole prompt once. The tokens that its last one attends to most there, summed over heads, are all that the " +
    "whole model then reads, in their order and at positions from 0 on; the last token is always among them.",
  source:
    "Shi et al. 2024, Discovering the Gems in Early Layers: Accelerating Long-Context LLMs with 1000x Input Token Reduction",
  chooses: "inputs",
  parameters,
  layers: ({ layer }, layers) => layer ?? Math.max(1, Math.round(LAYER * layers)),
  choose(view, count) {
    const { held } = view;
    const votes = tf.reshape(tf.sum(patternOf(view), 0), [held]); // of the last token, over all heads
    const before = tf.topk(tf.slice(votes, 0, held - 1), count - 1).indices.dataSync();
    return [...before, held - 1].sort((a, b) => a - b);
  },
};
