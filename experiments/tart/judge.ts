import type { ClaimResult, ClaimStatement } from "../base.ts";
import { mean } from "../curves.ts";
import { differenceText, meanText } from "../intervals.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import type { TaskAccuracies, Way } from "./answers.ts";

export const BHATIA = "Bhatia et al. 2023, TART: A plug-and-play Transformer module for task-agnostic reasoning";

/** Margins of accuracies. */
const MARGIN = {
  /** Most that a module may stay below logistic regression. */
  near: 0.03,
  /** Least gain over the plain answer. */
  gain: 0.05,
  /** Least gain from the fewest shots to the most, where the accuracy with the fewest leaves room. */
  shots: 0.02,
  room: 0.95,
} as const;

const OVER = "mean over tasks and numbers of shots";

export const claims: readonly ClaimStatement[] = [
  {
    id: "learns",
    statement: "A transformer that is trained on synthetic sequences alone learns to do logistic regression in context.",
    source: `${BHATIA}, section 3.1`,
    check:
      `Its accuracy on the last point of new sequences is at most ${MARGIN.near} below that of logistic regression with the true ` +
      `prior on the same ones, ${QUORUM_WORDS}.`,
  },
  {
    id: "beats-plain",
    statement: "On a language model's embeddings the module beats the model's own answers in context.",
    source: `${BHATIA}, section 4`,
    check: `Its accuracy, ${OVER}, is at least ${MARGIN.gain} above that of the plain answers, ${QUORUM_WORDS}.`,
  },
  {
    id: "every-task",
    statement: "One module, its weights unchanged, does so over tasks.",
    source: `${BHATIA}, section 4`,
    check: "Its accuracy, mean over seeds and numbers of shots, is above that of the plain answers in at least three quarters of the tasks.",
  },
  {
    id: "near-own",
    statement: "It comes near a regression that is fitted to each task.",
    source: `${BHATIA}, section 4`,
    check:
      `Its accuracy, ${OVER}, is at most ${MARGIN.near} below that of logistic regression on the same features and shots, ` +
      `${QUORUM_WORDS}.`,
  },
  {
    id: "representation",
    statement: "The embeddings hold what the plain answers miss.",
    source: `${BHATIA}, section 2, representation and reasoning gaps`,
    check:
      `Logistic regression of each task on whole embeddings, from the same shots, is at least ${MARGIN.gain} above the plain answers, ` +
      `${OVER}, ${QUORUM_WORDS}.`,
  },
  {
    id: "more-shots",
    statement: "The module gets better with more shots.",
    source: `${BHATIA}, section 4`,
    check:
      `Its accuracy with the most shots, mean over tasks, is at least ${MARGIN.shots} above that with the fewest, ${QUORUM_WORDS}. A seed ` +
      `whose accuracy with the fewest is above ${MARGIN.room} cannot say.`,
  },
]; // biome-ignore format: a claim's parts a line

/** One seed: its module on synthetic sequences beside logistic regression, and the text tasks. */
export interface TartSeed {
  readonly synthetic: { readonly module: number; readonly reference: number };
  /** By task. */
  readonly tasks: readonly TaskAccuracies[];
}

/** Decides the claims. @param seeds one each @param names of the tasks */
export function judge(seeds: readonly TartSeed[], names: readonly string[]): ClaimResult[] {
  const overall = (way: Way) => seeds.map(({ tasks }) => mean(tasks.map((task) => mean(task[way]))));
  const ofTask = (way: Way, t: number) => mean(seeds.map(({ tasks }) => mean(tasks[t]![way])));
  const ends = (place: number) => seeds.map(({ tasks }) => mean(tasks.map(({ module }) => module.at(place)!)));
  const minus = (a: readonly number[], b: readonly number[]) => a.map((value, s) => value - b[s]!);
  const [module, plain, own, probe] = (["module", "plain", "own", "probe"] as const).map(overall) as [number[], number[], number[], number[]]; // biome-ignore format: one line
  const [fewest, most] = [ends(0), ends(-1)];
  const synthetic = (side: keyof TartSeed["synthetic"]) => seeds.map((seed) => seed.synthetic[side]);
  const levels = { chance: 1 / 2, "full score": 1 };
  const accuracies = { "accuracy of the module": meanText(module), "of plain answers": meanText(plain) };
  return [
    {
      id: "learns",
      measured: {
        "accuracy of the module": meanText(synthetic("module")),
        "of logistic regression": meanText(synthetic("reference")),
        ...levels,
      },
      ...vote(
        minus(synthetic("reference"), synthetic("module")).map((gap) => gap <= MARGIN.near),
        "the module is near logistic regression",
        "",
      ),
    },
    {
      id: "beats-plain",
      measured: {
        ...accuracies,
        gain: differenceText(minus(module, plain)),
        "of plain answers, calibrated": meanText(overall("calibrated")),
        ...levels,
      },
      ...vote(
        minus(module, plain).map((gain) => gain >= MARGIN.gain),
        "the module is that much better",
        "",
      ),
    },
    {
      id: "every-task",
      measured: {
        ...Object.fromEntries(
          names.map((name, t) => [
            `${name}, module and plain`,
            `${ofTask("module", t).toFixed(2)}, ${ofTask("plain", t).toFixed(2)}`,
          ]),
        ),
        ...levels,
      },
      ...vote(
        names.map((_, t) => ofTask("module", t) > ofTask("plain", t)),
        "the module is better",
        "",
        "task",
      ),
    },
    {
      id: "near-own",
      measured: { "accuracy of the module": meanText(module), "of regressions of each task": meanText(own), ...levels },
      ...vote(
        minus(own, module).map((gap) => gap <= MARGIN.near),
        "the module is near them",
        "",
      ),
    },
    {
      id: "representation",
      measured: {
        "accuracy of regressions on whole embeddings": meanText(probe),
        "of plain answers": meanText(plain),
        ...levels,
      },
      ...vote(
        minus(probe, plain).map((gain) => gain >= MARGIN.gain),
        "the embeddings give that much more",
        "",
      ),
    },
    {
      id: "more-shots",
      measured: { "accuracy, fewest shots": meanText(fewest), "accuracy, most shots": meanText(most), ...levels },
      ...vote(
        minus(most, fewest).map((gain, s) => (fewest[s]! > MARGIN.room ? undefined : gain >= MARGIN.shots)),
        "the accuracy rises",
        "it is near its ceiling with the fewest",
      ),
    },
  ];
}
