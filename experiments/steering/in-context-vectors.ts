import { z } from "zod";
import { LABELLED_TEXTS, type LabelledTexts } from "../../synthetic-tasks/demonstrations/index.ts";
import { type Experiment, type MeasurementPlan, seedList } from "../base.ts";
import { behaviourFigure, lossFigure } from "./figures.ts";
import { judge, steeringClaims } from "./judge.ts";
import { measureFunctionVector, measureInContextVectors, type SteeringSettings, steeringValues } from "./measure.ts";

/** Strengths or scales in one direction, ascending. */
const ascending = z
  .array(z.number().positive())
  .min(2)
  .max(8)
  .refine((values) => values.every((value, i) => i === 0 || value > values[i - 1]!), "give them in ascending order");

const parameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the model"),
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the examples and prompts"),
  prompts: z.int().min(4).max(40).default(16).describe("prompts of each seed, an even number").refine((count) => count % 2 === 0, "give an even number"),
  examples: z.int().min(2).max(64).default(8).describe("pairs of texts that an in-context vector is made of"),
  strengths: ascending.default([0.025, 0.05, 0.1]).describe("strengths of in-context vectors, towards positive and towards negative"),
  cases: z.int().min(2).max(64).default(6).describe("prompts that a function vector is made of, an even number").refine((count) => count % 2 === 0, "give an even number"),
  scales: ascending.default([0.5, 1, 2]).describe("factors on a function vector"),
}); // biome-ignore format: a parameter a line

type Params = z.output<typeof parameters>;

/** Reviews, positive or negative: the behaviour that is steered. */
const REVIEWS: LabelledTexts = LABELLED_TEXTS.find(({ name }) => name === "sentiment")!;
/** Slot of a review whose word says which it is. */
const SLOT = "quality";

/** The two vectors: places of their dial, and their measurement. */
const VECTORS = {
  "in-context vectors": {
    settings: ({ prompts, examples, strengths }: Params): Omit<SteeringSettings, "seed"> => ({
      prompts,
      examples,
      dial: [...strengths.toReversed().map((strength) => -strength), 0, ...strengths],
    }),
    measure: (...[model, settings, means]: Measured) =>
      measureInContextVectors(model, { texts: REVIEWS, slot: SLOT }, settings, means),
  },
  "function vectors": {
    settings: ({ prompts, cases, scales }: Params): Omit<SteeringSettings, "seed"> => ({
      prompts,
      examples: cases,
      dial: [0, ...scales],
    }),
    measure: (...[model, settings, means]: Measured) => measureFunctionVector(model, REVIEWS, settings, means),
  },
} as const;

type Measured = [
  Parameters<typeof measureFunctionVector>[0],
  SteeringSettings,
  Parameters<typeof measureFunctionVector>[3],
];
type VectorName = keyof typeof VECTORS;

function plans(name: VectorName, params: Params): MeasurementPlan<typeof steeringValues>[] {
  const { settings, measure } = VECTORS[name];
  return params.seeds.map((seed) => {
    const own = { seed, ...settings(params) };
    return {
      name,
      label: name,
      model: params.model,
      settings: { ...own, revision: 1 },
      values: steeringValues,
      measure: (model, means) => measure(model, own, means),
    };
  });
}

/** Vectors made of examples, added to the stream: a dial on the behaviour, and its price. */
export const inContextVectorsExperiment: Experiment<typeof parameters> = {
  name: "in-context-vectors",
  title: "Vectors of examples as a dial",
  description:
    "A pretrained model is steered by in-context vectors from negative to positive reviews, and by the function vector of labelling them. " +
    "The behaviour and the loss on neutral text are followed over the dial, beside random vectors of the same lengths.",
  source: "Liu et al. 2023, In-context Vectors; Todd et al. 2024, Function Vectors in Large Language Models",
  parameters,
  presets: {
    quick: {},
    full: {
      seeds: [0, 1, 2, 3, 4, 5, 6, 7],
      prompts: 40,
      examples: 32,
      strengths: [0.0125, 0.025, 0.05, 0.075, 0.1, 0.15],
      cases: 24,
      scales: [0.25, 0.5, 1, 1.5, 2, 4],
    },
  },
  claims: steeringClaims,
  extent: "prompts",
  stages: ({ seeds }) => [
    { label: "in-context vectors", work: seeds.length },
    { label: "function vectors", work: 5 * seeds.length },
  ],
  async run(params, { measure }) {
    const style = await measure(plans("in-context vectors", params));
    const labelling = await measure(plans("function vectors", params));
    const dials = {
      style: VECTORS["in-context vectors"].settings(params).dial,
      labelling: VECTORS["function vectors"].settings(params).dial,
    };
    return {
      claims: judge({ style, labelling }, dials),
      figures: [
        behaviourFigure("style", style, dials.style),
        behaviourFigure("labelling", labelling, dials.labelling),
        lossFigure("style", style, dials.style),
        lossFigure("labelling", labelling, dials.labelling),
      ],
    };
  },
};
