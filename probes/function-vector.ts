import { z } from "zod";
import { type VectorCase, vectorCase } from "../backend/circuits/vectors/cases.ts";
import {
  DEFAULT_TOP,
  defaultLayer,
  functionVector as findVector,
} from "../backend/circuits/vectors/function-vector.ts";
import { HeadscopeError } from "../backend/common/errors.ts";
import { meanMetric, type Probe, refuse, summarise } from "./base.ts";

const parameters = z.object({
  top: z.int().min(1).default(DEFAULT_TOP).describe("heads whose outputs make the vector"),
  layers: z
    .array(z.int().min(0))
    .min(1)
    .optional()
    .describe(
      "layers behind which the vector is added to the prompts without demonstrations; left out, a third of the way up",
    ),
});

/** Heads that carry the function which demonstrations show, and the vector that they write. */
export const functionVectorProbe: Probe<typeof parameters> = {
  name: "function-vector",
  title: "Function-vector heads",
  description:
    "Average indirect effect: a head's mean output at the end of prompts with demonstrations, put at the end of the same prompts with shuffled labels; " +
    "the score is by how much the right answer's probability rises, the mean over the cases. The sum of what the best heads write is the function " +
    "vector; it is added to the prompts without demonstrations. Cases are given in a file.",
  source: "Todd et al. 2024, Function Vectors in Large Language Models",
  parameters,
  meanings: {
    "function-vector": {
      meaning:
        "Rise of the right answer's probability when the head's mean output stands at the end of a shuffled prompt.",
      range: [-1, 1],
    },
  },
  readCase: vectorCase,
  async run(model, params, context) {
    refuse(context, "function-vector", "tokens");
    const { n_layers, n_heads } = model.config;
    const given = context.cases ?? [];
    if (given.length === 0)
      throw new HeadscopeError("usage", "probe function-vector needs cases", {
        remedy: "give --cases-file: prompts with demonstrations, with shuffled ones, and without",
      });
    const cases: VectorCase[] = given.map((value, c) => vectorCase(value, `case ${c}`, model));
    const all = n_layers * n_heads;
    const { layers = [defaultLayer(n_layers)] } = params;
    const top = params.top === DEFAULT_TOP ? Math.min(DEFAULT_TOP, all) : params.top;
    const { progress, signal } = context;
    const found = await findVector(model, {
      cases,
      top,
      layers,
      ...(progress && { progress }),
      ...(signal && { signal }),
    });
    const metric = meanMetric(found.effects);
    const mean = (side: "clean" | "shuffled"): number =>
      found.perCase.reduce((sum, one) => sum + one[side], 0) / found.perCase.length;
    const shots = Object.entries(found.zeroShot).map(([layer, { probability }]) => [
      layer === "none" ? "zero-shot" : `zero-shot with the vector at ${layer}`,
      probability,
    ]);
    return {
      params: { top, layers },
      tokens: cases.flatMap(({ clean, shuffled, zero }) => [[...clean], [...shuffled], [...zero]]),
      metrics: { "function-vector": metric },
      summary: {
        ...summarise(metric.values),
        clean: mean("clean"),
        shuffled: mean("shuffled"),
        ...Object.fromEntries(shots),
      },
      perCase: found.perCase,
      findings: { top: found.top, vector: found.vector, zeroShot: found.zeroShot },
    };
  },
};
