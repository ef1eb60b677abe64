import { z } from "zod";
import { type Experiment, seedList } from "../base.ts";
import { ascending, REVIEWS, steeringPlans } from "./dials.ts";
import { behaviourFigure, lossFigure } from "./figures.ts";
import { claimsOf, judgeDial } from "./judge.ts";
import { measureFunctionVector } from "./measure.ts";

const even = (count: number): boolean => count % 2 === 0;
const EVEN = "give an even number, so that both labels are asked for equally often";

const parameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the model"),
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the cases and prompts"),
  prompts: z.int().min(4).max(40).refine(even, EVEN).default(16).describe("prompts of each seed, an even number"),
  cases: z.int().min(2).max(64).refine(even, EVEN).default(4).describe("prompts that the vector is made of, an even number"),
  scales: ascending.default([0.5, 1, 2]).describe("factors on the vector"),
}); // biome-ignore format: a parameter a line

const LABEL = "function vectors";

/** A function vector as a dial on a task that no demonstration shows, and its price. */
export const functionVectorsExperiment: Experiment<typeof parameters> = {
  name: "function-vectors",
  title: "A function vector as a dial",
  description:
    "The function vector of labelling reviews is added behind a layer of a pretrained model at the end of prompts without " +
    "demonstrations: the right label's probability, and the loss on neutral text, beside a random vector of the same length.",
  source: "Todd et al. 2024, Function Vectors in Large Language Models",
  trials:
    "The preset was first run with 6 cases for the vector and cut to 4 for the time AFTER LOOKING; the verdicts " +
    "were the same. No claim or threshold was changed. The full preset's cases were halved for the time before it was run.",
  parameters,
  presets: {
    quick: {},
    full: { seeds: [0, 1, 2, 3, 4, 5, 6, 7], prompts: 40, cases: 12, scales: [0.25, 0.5, 1, 1.5, 2, 4] },
  },
  claims: claimsOf("labelling"),
  extent: "prompts",
  stages: ({ seeds }) => [{ label: LABEL, work: seeds.length }],
  async run({ model, seeds, prompts, cases, scales }, { measure }) {
    const dial = [0, ...scales];
    const values = await measure(
      steeringPlans(LABEL, { model, seeds, prompts, examples: cases, dial }, (loaded, settings, means) =>
        measureFunctionVector(loaded, REVIEWS, settings, means),
      ),
    );
    return {
      claims: judgeDial("labelling", values, dial),
      figures: [behaviourFigure("labelling", values, dial), lossFigure("labelling", values, dial)],
    };
  },
};
