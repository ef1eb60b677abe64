import { referenceLevels } from "../../backend/training/evaluations.ts";
import { makeSpec } from "../../backend/training/spec.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import type { Experiment, ExperimentContext, TrainedRun } from "../base.ts";
import { finalValue, mean } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import {
  allPlans,
  type GeneralParams,
  generalParameters,
  mainPlan,
  phasePlan,
  plateauPlans,
  STATE_ARMS,
  sizeOf,
  statePlans,
  TASK,
} from "./arms.ts";
import { type Levels, phaseDiagrams, phaseLines, plateauFigure, type SizedAccuracies, sizeFigures } from "./figures.ts";
import { generalClaims, judge, type PhaseCell, type PhaseSeed } from "./judge.ts";

const curveOf = (run: TrainedRun, split: string) => run.curves.get(`${split}.accuracy`)!;
const finalOf = (run: TrainedRun, split: string): number => finalValue(curveOf(run, split));
const unseenOf = (runs: readonly TrainedRun[]): number[] => runs.map((run) => finalOf(run, "unseen"));

const phaseSeed = (run: TrainedRun): PhaseSeed => ({
  first: finalOf(run, "seen-first"),
  seen: finalOf(run, "seen"),
  newItems: finalOf(run, "new-items"),
  unseen: finalOf(run, "unseen"),
  allNew: finalOf(run, "all-new"),
});

/** Trains the cells of the phase diagram, or finds them. */
async function trainCells(params: GeneralParams, context: ExperimentContext): Promise<PhaseCell[]> {
  const cells: PhaseCell[] = [];
  for (const count of params.task_counts)
    for (const width of params.widths) {
      const runs = await context.train(phasePlan(params, count, width), params.seeds);
      cells.push({ tasks: count, width, seeds: runs.map(phaseSeed) });
    }
  return cells;
}

/** Guessing, and the task's reference on the rows of unseen tasks that models are evaluated on. */
function levelsOf(params: GeneralParams): Levels {
  const task = tasks.get(TASK);
  const spec = makeSpec(task, mainPlan(params).params);
  const ceilings = params.seeds.map((seed) => referenceLevels(task, spec, seed)["unseen"]!.accuracy!);
  return { chance: 1 / params.classes, ceiling: mean(ceilings) };
}

/** Kirsch et al.'s phases of learning to learn, and what they hang on. */
export const generalPurposeIcl: Experiment<typeof generalParameters> = {
  name: "general-purpose-icl",
  title: "General-purpose in-context learning: memorise, identify, generalise",
  description:
    "Transformers label items of tasks that are random projections and label permutations of one base set. The number of tasks and the width decide " +
    "whether they remember tasks, find out which one they are in, or learn from the sequence alone. Recurrences of equal state or equal numbers of parameters are compared, " +
    "and the plateau before a model generalises is followed with a larger batch and with biased data.",
  source: "Kirsch et al. 2022, General-Purpose In-Context Learning by Meta-Learning Transformers",
  trials:
    "Single trainings (seed 10) over numbers of tasks and widths, two biases and two states came first; the three " +
    "numbers of tasks, the bias and the steps are chosen by them. Thresholds were written after these trials and " +
    "before the preset was run. A first start was stopped before any accuracy was looked at, and rows, points and " +
    "the large batch cut for the time.",
  parameters: generalParameters,
  presets: {
    quick: {},
    full: {
      ...{ steps: 10_000, recurrent_steps: 10_000, task_counts: [1, 16, 256, 1024, 4096, 16_384, 65_536, 2 ** 20] },
      ...{ widths: [8, 16, 32, 64], classes: 10, dimension: 16, examples: 50, n_heads: 4, states: [1, 16] },
      ...{ recurrent_mlp: 256, learning_rate: 1e-3, recurrent_rate: 2e-3 },
    },
  },
  claims: generalClaims,
  stages: (params) => allPlans(params).map((plan) => trainingStage(plan, params.seeds)),
  async run(params, context) {
    const { seeds } = params;
    for (const plan of allPlans(params)) context.check(plan, seeds);
    const cells = await trainCells(params, context);
    const main = await context.train(mainPlan(params), seeds);
    const { batch, bias } = plateauPlans(params);
    const curves = async (plan: typeof batch) => (await context.train(plan, seeds)).map((run) => curveOf(run, "unseen"));
    const plateaus = { base: main.map((run) => curveOf(run, "unseen")), batch: await curves(batch), bias: await curves(bias) };
    const plans = statePlans(params);
    const models: SizedAccuracies[] = [];
    for (const arm of STATE_ARMS)
      models.push({ name: arm, size: sizeOf(plans[arm]), accuracies: unseenOf(await context.train(plans[arm], seeds)) });
    const states = Object.fromEntries(models.map(({ name, accuracies }) => [name, accuracies])) as never;
    const attention = { name: "attention", size: sizeOf(mainPlan(params)), accuracies: unseenOf(main) };
    const levels = levelsOf(params);
    return {
      claims: judge({ cells, states, plateaus, chance: levels.chance }),
      figures: [
        phaseLines(cells, levels),
        ...phaseDiagrams(cells, levels),
        ...sizeFigures([...models, attention], levels),
        plateauFigure(plateaus, levels),
      ],
    };
  },
}; // biome-ignore format: a line a step
