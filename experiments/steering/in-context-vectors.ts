import { z } from "zod";
import { type Experiment, seedList } from "../base.ts";
import { ascending, REVIEWS, steeringPlans } from "./dials.ts";
import { behaviourFigure, lossFigure } from "./figures.ts";
import { claimsOf, demonstrationsClaim, judgeDemonstrations, judgeDial } from "./judge.ts";
import { measureInContextVectors } from "./measure.ts";

const parameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the model"),
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the examples and prompts"),
  prompts: z.int().min(4).max(40).default(16).describe("prompts of each seed"),
  examples: z.int().min(2).max(64).default(8).describe("pairs of texts that the vectors are made of"),
  strengths: ascending.default([0.025, 0.05, 0.1]).describe("factors on the vectors, towards positive and towards negative"),
}); // biome-ignore format: a parameter a line

const LABEL = "in-context vectors";
/** Slot of a review whose word says which it is. */
const SLOT = "quality";

/** In-context vectors as a dial between negative and positive words, and its price. */
export const inContextVectorsExperiment: Experiment<typeof parameters> = {
  name: "in-context-vectors",
  title: "In-context vectors as a dial",
  description:
    "A pretrained model is steered by in-context vectors from negative to positive reviews, added in all layers: the share of positive " +
    "words that no example has, and the loss on neutral text, beside random vectors of the same lengths and the examples in the prompt.",
  source: "Liu et al. 2023, In-context Vectors",
  trials:
    "Nothing was tried before thresholds and strengths were written. When two seeds had been measured, function " +
    "vectors became an experiment of their own, for the time; no claim, threshold or setting was changed.",
  parameters,
  presets: {
    quick: {},
    full: {
      seeds: [0, 1, 2, 3, 4, 5, 6, 7],
      prompts: 40,
      examples: 32,
      strengths: [0.0125, 0.025, 0.05, 0.075, 0.1, 0.15],
    },
  },
  claims: [...claimsOf("style"), demonstrationsClaim],
  extent: "prompts",
  stages: ({ seeds }) => [{ label: LABEL, work: seeds.length }],
  async run({ model, seeds, prompts, examples, strengths }, { measure }) {
    const dial = [...strengths.toReversed().map((strength) => -strength), 0, ...strengths];
    const values = await measure(
      steeringPlans(LABEL, { model, seeds, prompts, examples, dial }, (loaded, settings, means) =>
        measureInContextVectors(loaded, { texts: REVIEWS, slot: SLOT }, settings, means),
      ),
    );
    return {
      claims: [...judgeDial("style", values, dial), judgeDemonstrations(values)],
      figures: [behaviourFigure("style", values, dial), lossFigure("style", values, dial)],
    };
  },
};
