import { z } from "zod";
import type { Figure } from "../../backend/common/figures/figure.ts";
import type { Model } from "../../backend/models/model.ts";
import { encodeText } from "../../backend/models/tokens.ts";
import { loopTurn } from "../../backend/runtime/turn.ts";
import { labelTokens } from "../../synthetic-tasks/demonstrations/index.ts";
import type { ChoiceItem } from "../../synthetic-tasks/reasoning/base.ts";
import type {
  ClaimResult,
  ExperimentContext,
  ExperimentStage,
  Finding,
  MeasurementMeans,
  MeasurementPlan,
} from "../base.ts";
import { mean } from "../curves.ts";
import { wordLogProbs } from "../next-words.ts";

const answeredItem = z.object({
  /** Place of the right choice. */
  answer: z.int(),
  /** By choice, in nats. */
  logProbs: z.array(z.number()),
});
/** A question with the model's log-probabilities of its choices. */
export type AnsweredItem = z.output<typeof answeredItem>;

/** Schema of the answers to questions, by condition. */
const choiceValues = z.record(z.string(), z.array(answeredItem));
/** Answers of a seed, by condition. */
export type ChoiceValues = z.output<typeof choiceValues>;

/**
 * Asks a model questions, condition by condition.
 * @throws HeadscopeError (unsupported) for a tokenizer that cuts a choice
 */
async function answerItems(
  model: Model,
  items: Readonly<Record<string, readonly ChoiceItem[]>>,
  { progress, signal }: MeasurementMeans,
): Promise<ChoiceValues> {
  const turn = loopTurn(signal);
  const total = Object.values(items).reduce((sum, { length }) => sum + length, 0);
  const values: ChoiceValues = {};
  let before = 0;
  for (const [condition, asked] of Object.entries(items)) {
    const prompts = asked.map(({ prompt, choices }) => ({
      tokens: encodeText(model, prompt),
      words: labelTokens(model, { name: condition, labels: choices }),
    }));
    const logProbs = await wordLogProbs(model, prompts, { turn, progress: (done) => progress(before + done, total) });
    values[condition] = asked.map(({ answer }, i) => ({ answer, logProbs: logProbs[i]! }));
    before += asked.length;
  }
  return values;
}

/** The choice that is likeliest. */
export function chosen({ logProbs }: AnsweredItem): number {
  return logProbs.indexOf(Math.max(...logProbs));
}

/** By question, 1 where the right choice is the likeliest. */
export function rights(items: readonly AnsweredItem[]): number[] {
  return items.map((item) => (chosen(item) === item.answer ? 1 : 0));
}

/** Accuracy over questions. */
export function accuracyOf(items: readonly AnsweredItem[]): number {
  return mean(rights(items));
}

/**
 * The questions without the model's leaning towards some choices: each choice's log-probability less its mean over all of them, which
 * have the same choices and every answer equally often.
 */
export function calibrated(items: readonly AnsweredItem[]): AnsweredItem[] {
  const means = items[0]!.logProbs.map((_, c) => mean(items.map(({ logProbs }) => logProbs[c]!)));
  return items.map(({ answer, logProbs }) => ({ answer, logProbs: logProbs.map((value, c) => value - means[c]!) }));
}

/** Parameters that decide which model is asked, by seed, and how much. */
interface AskedParams {
  readonly model: string;
  readonly seeds: readonly number[];
  readonly prompts: number;
}

/** An experiment's questions, and its findings from the answers. @typeParam P its parameters */
interface Asked<P extends AskedParams> {
  /** Label of its one stage. */
  readonly label: string;
  /** Draws the questions of a seed, by condition. */
  questions(seed: number, params: Omit<P, "model" | "seeds">): Readonly<Record<string, readonly ChoiceItem[]>>;
  /** Decides the claims. @param seeds one each */
  judge(seeds: readonly ChoiceValues[]): ClaimResult[];
  figure(seeds: readonly ChoiceValues[]): Figure;
}

/** The stage and the run of an experiment that asks a model questions, seed after seed. */
export function askedBySeed<P extends AskedParams>({ label, questions, judge, figure }: Asked<P>) {
  return {
    extent: "prompts",
    stages: ({ seeds, prompts }: P): ExperimentStage[] => [{ label, work: seeds.length * prompts }],
    async run({ model, seeds, ...params }: P, { measure }: ExperimentContext): Promise<Finding> {
      const plans = seeds.map(
        (seed): MeasurementPlan<typeof choiceValues> => ({
          name: "choices",
          label,
          model,
          settings: { seed, ...params, revision: 1 },
          values: choiceValues,
          measure: (loaded, means) => answerItems(loaded, questions(seed, params), means),
        }),
      );
      const values = await measure(plans);
      return { claims: judge(values), figures: [figure(values)] };
    },
  };
}
