import { z } from "zod";
import { ablateEach } from "../../backend/circuits/ablation/each.ts";
import { ABLATION_METHODS } from "../../backend/common/words.ts";
import { type Probe, summarise } from "../base.ts";
import { needlePairParameters, needlePairs } from "./needle-pairs.ts";

const parameters = z.object({
  ...needlePairParameters,
  method: z.enum(ABLATION_METHODS).default("zero").describe("what stands in for a head's output"),
});

/** Heads without which a needle is not found, each taken out in turn. */
export const needleAblation: Probe<typeof parameters> = {
  name: "needle-ablation",
  title: "Loss of a needle without the head",
  description:
    "Each query head is taken out in turn of a needle question, and the score is the fall of the logit difference between the number that the text names and another. " +
    "Mean over the questions. Every head costs a run from its layer on.",
  source: "Wang et al. 2023, Interpretability in the Wild; Wu et al. 2024, Retrieval Head (masked retrieval heads)",
  parameters,
  meanings: {
    "needle-ablation": {
      meaning: "Fall of the answer's logit difference when the head is taken out: positive where it helps.",
    },
  },
  async run(model, { method, ...given }, context) {
    const { pairs, params } = needlePairs(model, "needle-ablation", given, context);
    const { signal, progress } = context;
    const { clean, ablated } = await ablateEach(model, {
      pairs,
      each: "head",
      method,
      ...(progress && { progress }),
      signal,
    });
    const values = ablated.map((row) => row.map((value) => clean - value));
    return {
      params: { ...params, method },
      tokens: pairs.map((pair) => pair.clean),
      metrics: { "needle-ablation": { axis: "heads", values } },
      summary: { ...summarise(values), clean },
    };
  },
};
