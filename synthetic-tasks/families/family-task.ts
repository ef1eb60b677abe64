import type { z } from "zod";
import { Random } from "../../backend/common/random.ts";
import type { Batch, Evaluation, SyntheticTask } from "../../backend/training/task.ts";
import { fixed, task } from "../base.ts";
import { promptBatch, promptPositions, type RegressionPrompts, regressionPrompts } from "../learners/prompts.ts";
import { drawPrompts, type InputLaw, type Mixture } from "./family.ts";
import { normalLoss, promptMoments } from "./posterior.ts";

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
  const {
    dimension,
    inputs = () => normalInputs,
    counted,
    output = "values",
    check = () => {},
    mixtures,
    evaluations,
    ...named
  } = definition;
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
    ...named,
    shape: (params) => ({
      input: { kind: "vectors", width: dimension(params) },
      output: { kind: output, width: 1 },
      positions: promptPositions(params as Params),
      scored: "all",
    }),
    check,
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
        const prompts = regressionPrompts(sizeOf(params as Params), batch);
        const { rows, examples } = prompts;
        const positions = promptPositions(prompts);
        const predictions = new Float64Array(rows * positions * width);
        promptMoments(world.training, prompts).forEach(({ mean, variance }, pair) => {
          const position = Math.floor(pair / examples) * positions + 2 * (pair % examples);
          predictions.set(output === "gaussian" ? [mean, Math.log(variance)] : [mean], position * width);
        });
        return predictions;
      },
    },
    describe: (world, params, batch, row) =>
      describeRow(world.training, regressionPrompts(sizeOf(params as Params), batch), { row, output }),
  } as SyntheticTask<S, Mixtures>);
}

/** One row as text: its pairs, and the law of y before it is seen: its mean and, of outputs with a variance, its standard deviation. */
function describeRow(
  mixture: Mixture,
  { rows, examples, x, y }: RegressionPrompts,
  { row, output }: { row: number; output: "values" | "gaussian" },
): string {
  const d = x.length / (rows * examples);
  const first = row * examples;
  const one = { rows: 1, examples, x: x.subarray(first * d, (first + examples) * d), y: y.subarray(first, first + examples) };
  const lines = promptMoments(mixture, one).map(({ mean, variance }, i) => {
    const law = output === "gaussian" ? [mean, Math.sqrt(variance)] : [mean];
    return `x ${fixed(one.x.subarray(i * d, (i + 1) * d))}   y ${fixed([one.y[i]!])}   Bayes says ${fixed(law)}`;
  });
  return lines.join("\n");
} // biome-ignore format: one line
