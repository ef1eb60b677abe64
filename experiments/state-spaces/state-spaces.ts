import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { makeSpec } from "../../backend/training/spec.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import type { Experiment, ExperimentStage } from "../base.ts";
import { levelLine, meanCaption, meanLine } from "../curves.ts";
import { trainingStage } from "../progress.ts";
import {
  type Arm,
  armsOf,
  armTitle,
  planOf,
  RECURRENCES,
  type StateParams,
  type StateTask,
  stateParameters,
  TASKS,
} from "./arms.ts";
import { judge, stateClaims } from "./judge.ts";
import { lengthsOf, measureArm, pairsOf, type StateAccuracies } from "./measure.ts";

/** An arm with what its seeds reach. */
interface MeasuredArm {
  readonly arm: Arm;
  readonly seeds: readonly StateAccuracies[];
}

/** Accuracies of guessing, which a task says of its evaluations. */
function chanceOf(task: StateTask, params: StateParams): number {
  const spec = makeSpec(tasks.get(task), planOf(task, { mixer: "attention" }, params).params);
  return Object.values(tasks.get(task).evaluations)[0]!.chance!(spec.params).accuracy!;
}

/** The stages: each arm is trained on both tasks, then measured. */
function stages(params: StateParams): ExperimentStage[] {
  return armsOf(params).flatMap((arm) => TASKS.map((task) => trainingStage(planOf(task, arm, params), params.seeds)));
}

/** Accuracies of all arms over lengths or numbers of pairs. */
function accuracyFigure(task: StateTask, arms: readonly MeasuredArm[], params: StateParams): LineFigure {
  const copies = task === "copy";
  const x = copies ? lengthsOf(params) : pairsOf(params);
  const lines = arms.map(({ arm, seeds }) =>
    meanLine(armTitle(arm), seeds.map((seed) => ({ steps: x, values: [...(copies ? seed.copy : seed.recall)] }))),
  );
  return {
    kind: "lines",
    name: copies ? "copy" : "recall",
    title: copies ? "Copying by length" : "Recall by number of pairs",
    caption: `${meanCaption(params.seeds.length)} ${
      copies
        ? `Training has strings of up to ${params.length_max} letters.`
        : `Training has ${params.pairs} pairs in ${params.recall_context} tokens.`
    }`,
    x: { title: copies ? "letters of a string" : "pairs" },
    y: { title: "accuracy", range: [0, 1] },
    lines: [...lines.map((line) => ({ ...line, points: true })), levelLine("guessing (chance)", x, chanceOf(task, params))],
    ...(copies ? { marks: [{ x: params.length_max, label: "the longest of training" }] } : {}),
  };
} // biome-ignore format: a line of the figure a line

/** Copying and recall of recurrences by the size of their state, beside attention. */
export const stateSpaces: Experiment<typeof stateParameters> = {
  name: "state-spaces",
  title: "State spaces: what a state of fixed size copies and recalls",
  description:
    "Transformers whose layers have attention, a linear recurrence or a selective state space learn to copy strings and to recall values of " +
    "keys (MQAR). Accuracy is measured by length of the string, beyond that of training too, by number of pairs, and by distance, over the " +
    "size of the state.",
  source:
    "Jelassi et al. 2024; Arora et al. 2023; Ren et al. 2024, Can Mamba Always Enjoy the Free Lunch?; Chen et al. 2024, Stuffed Mamba",
  trials:
    "Single seeds were tried, by the accuracy on the task's own evaluation, for layers, steps, rates and the places " +
    "of queries; thresholds were written before anything was measured by length, pairs or distance. A state of 4 " +
    "was left out for the time.",
  parameters: stateParameters,
  presets: {
    quick: {},
    full: {
      ...{
        steps: 10_000,
        attention_steps: 10_000,
        states: [2, 4, 8, 16, 32],
        length_max: 64,
        longer: 96,
        letters: 128,
      },
      ...{
        pairs: 32,
        recall_context: 192,
        recall_vocabulary: 512,
        d_model: 64,
        batch: 32,
        learning_rate: 3e-3,
        attention_rate: 3e-3,
      },
    },
  },
  claims: stateClaims,
  stages,
  async run(params, context) {
    const arms = armsOf(params);
    for (const arm of arms) for (const task of TASKS) context.check(planOf(task, arm, params), params.seeds);
    const measured: MeasuredArm[] = [];
    for (const arm of arms) {
      const copies = await context.train(planOf("copy", arm, params), params.seeds);
      const recalls = await context.train(planOf("associative-recall", arm, params), params.seeds);
      measured.push({ arm, seeds: await measureArm(copies, recalls, params, context) });
    }
    const ofMixer = (mixer: string) => measured.filter(({ arm }) => arm.mixer === mixer).map(({ seeds }) => seeds);
    const recurrent = Object.fromEntries(RECURRENCES.map((mixer) => [mixer, ofMixer(mixer)])) as never;
    return {
      claims: judge({ attention: ofMixer("attention")[0]!, recurrent }, lengthsOf(params)),
      figures: TASKS.map((task) => accuracyFigure(task, measured, params)),
    };
  },
};
