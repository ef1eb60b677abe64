import { z } from "zod";
import { HeadscopeError } from "../../../common/errors.ts";
import { RATIO } from "../../../common/words.ts";
import { tf } from "../../../runtime/tf.ts";
import { patternOf } from "../attention.ts";
import { shareOrTokens } from "../budget.ts";
import type { PruningPolicy } from "../kinds/inputs.ts";
import { budgetParameters, refuseBoth, share } from "../kinds/parameters.ts";
import { inUnit } from "../kinds/units.ts";

/** Depths at which tokens are left out, unless told otherwise. */
const DEPTHS = [1 / 4, 1 / 2, 3 / 4];

const parameters = z.object({
  ratio: budgetParameters.ratio.describe(
    `share of the tokens that the last layers leave out, the same part at each stage; ${RATIO} where nothing else is given`,
  ),
  budget: budgetParameters.budget.describe("tokens of the prompt that the last layers read, instead of a ratio"),
  layers: inUnit(
    "layers",
    z
      .array(z.int().min(1))
      .min(1)
      .optional()
      .describe(
        "numbers of first layers behind which tokens are left out; a quarter, a half and three quarters of all unless told",
      ),
  ),
  percentiles: z
    .array(z.number().min(0).max(100))
    .min(1)
    .optional()
    .describe("by stage, the percentile of attention below which tokens are left out, instead of a ratio"),
});

/** Tokens that later layers leave out until they are needed. */
export const lazyllm: PruningPolicy<typeof parameters> = {
  name: "lazyllm",
  title: "Tokens that later layers put off",
  description:
    "Behind some layers only those tokens go on whose attention from the last token, mean over heads, reaches a percentile; the last token " +
    "always does. Each new token chooses anew among all tokens, and what it wants in a layer that has not run on it yet is run from where " +
    "it was left, so that each layer runs on a token once at most.",
  source: "Fu et al. 2024, LazyLLM: Dynamic Token Pruning for Efficient Long Context LLM Inference",
  chooses: "inputs",
  parameters,
  at(budget, given) {
    const says = ["ratio", "budget", "percentiles"].some((name) => given[name] !== undefined);
    return says ? undefined : shareOrTokens(budget);
  },
  decides: ({ percentiles }) => percentiles !== undefined,
  check(params) {
    refuseBoth("lazyllm", params, "percentiles", "ratio");
    refuseBoth("lazyllm", params, "percentiles", "budget");
    const { layers, percentiles } = params;
    if (layers && percentiles && layers.length !== percentiles.length)
      throw new HeadscopeError("usage", `lazyllm has ${layers.length} layers and ${percentiles.length} percentiles`, {
        remedy: "give a percentile for each",
        field: ["layers", "percentiles"],
      });
  },
  stages({ layers, percentiles }, depth) {
    const evenly = percentiles ? percentiles.map((_, i) => (i + 1) / (percentiles.length + 1)) : DEPTHS;
    const rounded = evenly.map((part) => Math.min(depth - 1, Math.round(part * depth)));
    const stages = layers ?? (percentiles ? rounded : [...new Set(rounded)]);
    if (stages.every((stage, i) => stage > (stages[i - 1] ?? 0) && stage < depth)) return stages;
    throw new HeadscopeError("usage", `lazyllm can't leave tokens out behind ${stages.join(", ")} of ${depth} layers`, {
      remedy: `give numbers from 1 to ${depth - 1}, ascending`,
      field: "layers",
    });
  },
  percentiles({ ratio, budget, percentiles }, stages, tokens) {
    const left = Math.min(1, share({ ratio, budget }, tokens) / tokens);
    return percentiles ?? new Array<number>(stages).fill(100 * (1 - left ** (1 / stages)));
  },
  goOn(view, percentile) {
    const attention = [...tf.reshape(tf.mean(patternOf(view), 0), [view.held]).dataSync()]; // of the last token
    const least = percentileOf(attention, percentile);
    return attention.flatMap((weight, place) => (weight >= least || place === view.held - 1 ? [place] : []));
  },
};

/** A percentile of numbers, linear between two of them. */
function percentileOf(numbers: readonly number[], percentile: number): number {
  const ordered = numbers.toSorted((a, b) => a - b);
  const place = (percentile / 100) * (ordered.length - 1);
  const below = Math.floor(place);
  const least = ordered[below]!;
  return least + ((ordered[below + 1] ?? least) - least) * (place - below);
}
