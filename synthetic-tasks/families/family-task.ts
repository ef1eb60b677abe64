import type { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import type { Batch, Evaluation, SyntheticTask } from "../../backend/training/task.ts";
import { fixed, task } from "../base.ts";
import { promptBatch, promptPositions, regressionPrompts } from "../learners/prompts.ts";
import { drawPrompts, type InputLaw, type Mixture } from "./family.ts";
import { MixturePosterior, type Moments, normalLoss } from "./posterior.ts";

/** Stream of a seed that a run's mixtures are drawn from. */
const WORLD_STREAM = 0xffffffff;

/** Mixtures by name: "training" has the functions of training, the others those of shifted evaluations. */
export type Mixtures = Readonly<Record<string, Mixture>> & { readonly training: Mixture };

/** Parameters that every task of function families has. */
interface PairParams {
  readonly examples: number;
}

/** A split of the prompts. */
interface Split<P> {
  readonly title: string;
  /** Mixture of its functions, default "training". */
  readonly mixture?: string;
  /** Factor of every x, default 1. */
  scale?(params: P): number;
  /** Mean of y², the error of answering 0. */
  power(params: P): number;
}

/** A task of regression in context over families of functions. */
export interface FamilyTask<S extends z.ZodObject<{ examples: z.ZodType<number> }>>
  extends Pick<SyntheticTask<S, Mixtures>, "name" | "title" | "description" | "source" | "parameters" | "defaults"> {
  /** Numbers of an x. */
  dimension(params: z.output<S>): number;
  /** Law of x, default independent standard normal numbers. */
  inputs?(params: z.output<S>): InputLaw;
  /** Pairs whose y counts in training, default all. */
  counted?(params: z.output<S>): number;
  /** Outputs are the mean of y, or its mean and log-variance; default "values". */
  readonly output?: "values" | "gaussian";
  check?(params: z.output<S>): void;
  /** Draws the mixtures that a run has. */
  mixtures(params: z.output<S>, random: Random): Mixtures;
  readonly evaluations: Readonly<Record<string, Split<z.output<S>>>>;
}

/** Independent standard normal numbers. */
const normalInputs: InputLaw = (random, x) => random.fillNormal(x);

/** A task from its families: prompts, evaluations, and Bayes' predictor for the mixture of training as the reference. */
export function familyTask<S extends z.ZodObject<{ examples: z.ZodType<number> }>>(
  definition: FamilyTask<S>,
): SyntheticTask<S, Mixtures> {
  type Params = z.output<S> & PairParams;
  const { dimension, inputs = () => normalInputs, counted, output = "values", mixtures, evaluations } = definition;
  const sizeOf = (params: Params) => ({ dimension: dimension(params), examples: params.examples });
  const drawBatch = (
    mixture: Mixture,
    params: Params,
    { rows, scale = 1 }: { rows: number; scale?: number },
    random: Random,
  ): Batch => {
    const law: InputLaw = (source, x) => {
      inputs(params)(source, x);
      x.forEach((value, i) => {
        x[i] = scale * value;
      });
    };
    const prompts = drawPrompts(mixture, law, { ...sizeOf(params), rows }, random);
    return { ...promptBatch(prompts), layout: prompts.families };
  };
  const momentsOf = (world: Mixtures, params: Params, batch: Batch): Moments[] => {
    const { rows, examples, x, y } = regressionPrompts(sizeOf(params), batch);
    const d = dimension(params);
    return Array.from({ length: rows }, (_, row) => {
      const posterior = new MixturePosterior(world.training);
      return Array.from({ length: examples }, (__, i) => {
        const pair = row * examples + i;
        const own = x.subarray(pair * d, (pair + 1) * d);
        const law = posterior.at(own);
        posterior.observe(own, y[pair]!);
        return law;
      });
    }).flat();
  };
  const evaluation = ({
    title,
    mixture = "training",
    scale,
    power,
  }: Split<z.output<S>>): Evaluation<Params, Mixtures> => ({
    title,
    chance: (params) => {
      const variance = power(params);
      return { loss: output === "values" ? variance : normalLoss({ mean: 0, variance }, Math.sqrt(variance)) };
    },
    sample: (world, params, random, rows) =>
      drawBatch(world[mixture]!, params, { rows, scale: scale?.(params) ?? 1 }, random),
  });
  return task({
    ...definition,
    shape: (params) => ({
      input: { kind: "vectors", width: dimension(params) },
      output: { kind: output, width: 1 },
      positions: promptPositions(params as Params),
      scored: "all",
    }),
    check: definition.check ?? (() => {}),
    world: (params, seed) => mixtures(params, new Random(seed, WORLD_STREAM)),
    sample(world, params, random, rows) {
      const batch = drawBatch(world.training, params as Params, { rows }, random);
      const positions = promptPositions(params as Params);
      const last = 2 * ((counted?.(params) ?? (params as Params).examples) - 1);
      return { ...batch, weights: batch.weights.map((weight, at) => (at % positions <= last ? weight : 0)) };
    },
    evaluations: Object.fromEntries(Object.entries(evaluations).map(([name, split]) => [name, evaluation(split)])),
    reference: {
      title: "posterior mean over the families of training, each weighted by its evidence",
      predict(world, params, batch) {
        const width = output === "gaussian" ? 2 : 1;
        const { examples } = params as Params;
        const predictions = new Float64Array(batch.rows * promptPositions({ examples }) * width);
        momentsOf(world, params as Params, batch).forEach(({ mean, variance }, pair) => {
          const position = Math.floor(pair / examples) * promptPositions({ examples }) + 2 * (pair % examples);
          predictions.set(output === "gaussian" ? [mean, Math.log(variance)] : [mean], position * width);
        });
        return predictions;
      },
    },
    describe(world, params, batch, row) {
      const size = sizeOf(params as Params);
      const { x, y } = regressionPrompts(size, batch);
      const { dimension: d, examples } = size;
      const laws = momentsOf(world, params as Params, batch).slice(row * examples, (row + 1) * examples);
      return laws
        .map((law, i) => {
          const pair = row * examples + i;
          const foretold = output === "gaussian" ? [law.mean, Math.sqrt(law.variance)] : [law.mean];
          return `x ${fixed(x.subarray(pair * d, (pair + 1) * d))}   y ${fixed([y[pair]!])}   Bayes says ${fixed(foretold)}`;
        })
        .join("\n");
    },
  } as SyntheticTask<S, Mixtures>);
}
