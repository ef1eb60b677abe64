import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { Random } from "../../backend/common/random.ts";
import { counted } from "../../backend/common/text.ts";
import type { ChoiceItem } from "../../synthetic-tasks/reasoning/base.ts";
import { drawFragment, FRAGMENTS, PLAIN, TRUTHS } from "../../synthetic-tasks/reasoning/fragments.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, seedList } from "../base.ts";
import { levelLine, mean } from "../curves.ts";
import { differenceText, meansLine, meanText } from "../intervals.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { accuracyOf, askedBySeed, type ChoiceValues, calibrated, rights } from "./choices.ts";
import { checkToys, toyClaims, toyFinding, toyParameters, toyStages } from "./fragment-toys.ts";

const everyTruth = `a multiple of ${TRUTHS.length}, so that each answer is right equally often`;

/** Parameters of the pretrained model's questions. */
const askedParameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the model"),
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the questions and of the toys"),
  prompts: z.int().min(6).max(192).multipleOf(TRUTHS.length, everyTruth).default(12).describe(`questions of each fragment and seed, ${everyTruth}`),
  shots: z.int().min(TRUTHS.length).max(24).multipleOf(TRUTHS.length, everyTruth).default(6).describe(`demonstrations of the same fragment, ${everyTruth}`),
}); // biome-ignore format: a parameter a line
type AskedParams = z.output<typeof askedParameters>;

const parameters = askedParameters.extend(toyParameters.shape);

const RICHARDSON = "Richardson et al. 2020, Probing Natural Language Inference Models through Semantic Fragments";

const CHANCE = 1 / TRUTHS.length;
/** Least difference of accuracies that counts, and accuracy above chance of a model that can do inference at all. */
const MARGIN = { poor: 0.15, taught: 0.2, able: 0.15 } as const;
const CALIBRATED =
  "Accuracies are calibrated: each answer's log-probability less its mean over a fragment's questions of a seed, so that a leaning towards one answer costs nothing.";

const claims: readonly ClaimStatement[] = [
  {
    id: "poor",
    statement: "A model that does plain inference does poorly on fragments of logic.",
    source: RICHARDSON,
    check:
      `Without demonstrations the mean accuracy over the ${FRAGMENTS.length} fragments is at least ${MARGIN.poor} below that on plain inference, ${QUORUM_WORDS}. ` +
      `A seed whose accuracy on plain inference is less than ${MARGIN.able} above 1/3 cannot say. ${CALIBRATED}`,
  },
  {
    id: "taught",
    statement: "A few examples of a fragment teach it.",
    source: `Expected of ${RICHARDSON}, who fine-tune for minutes; here nothing is trained`,
    check:
      `With demonstrations of the same fragment the mean accuracy over the fragments is at least ${MARGIN.taught} above that without, ${QUORUM_WORDS}. ${CALIBRATED}`,
  },
]; // biome-ignore format: a claim's parts a line

const ALL = [PLAIN, ...FRAGMENTS];
const condition = (name: string, shown: boolean): string => `${name}, ${shown ? "with" : "without"} demonstrations`;

/** The calibrated answers to a fragment's questions in a seed. */
function answers(seed: ChoiceValues, name: string, shown: boolean) {
  return calibrated(seed[condition(name, shown)]!);
}

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly ChoiceValues[]): ClaimResult[] {
  const over = (seed: ChoiceValues, shown: boolean) => mean(FRAGMENTS.map(({ name }) => accuracyOf(answers(seed, name, shown)))); // biome-ignore format: one line
  const plain = (seed: ChoiceValues) => accuracyOf(answers(seed, PLAIN.name, false));
  const all = (name: string, shown: boolean) => seeds.flatMap((seed) => rights(answers(seed, name, shown)));
  const together = (shown: boolean) => FRAGMENTS.flatMap(({ name }) => all(name, shown));
  const byFragment = (shown: boolean) => FRAGMENTS.map(({ name }) => `${name} ${mean(all(name, shown)).toFixed(2)}`).join(", "); // biome-ignore format: one line
  const raw = (shown: boolean) => mean(seeds.flatMap((seed) => FRAGMENTS.flatMap(({ name }) => rights(seed[condition(name, shown)]!)))); // biome-ignore format: one line
  return [
    {
      id: "poor",
      measured: {
        "accuracy on plain inference": meanText(all(PLAIN.name, false)),
        "accuracy on fragments": meanText(together(false)),
        "by fragment": byFragment(false),
        "the same, not calibrated": raw(false),
        "chance": CHANCE,
        "full score": 1,
      },
      ...vote(
        seeds.map((seed) => (plain(seed) >= CHANCE + MARGIN.able ? plain(seed) - over(seed, false) >= MARGIN.poor : undefined)),
        "the fragments go that much worse",
        "the model hardly does plain inference",
      ),
    },
    {
      id: "taught",
      measured: {
        "accuracy with demonstrations": meanText(together(true)),
        "difference": differenceText(together(true).map((right, i) => right - together(false)[i]!)),
        "by fragment": byFragment(true),
        "the same, not calibrated": raw(true),
        "plain inference with demonstrations": meanText(all(PLAIN.name, true)),
        "chance": CHANCE,
        "full score": 1,
      },
      ...vote(seeds.map((seed) => over(seed, true) - over(seed, false) >= MARGIN.taught), "it is that much better", ""),
    },
  ];
} // biome-ignore format: a value a line

function fragmentsFigure(seeds: readonly ChoiceValues[]): LineFigure {
  const places = ALL.map((_, i) => i);
  const columns = (shown: boolean) => ALL.map(({ name }) => seeds.flatMap((seed) => rights(answers(seed, name, shown))));
  return {
    kind: "lines",
    name: "fragments",
    title: "Inference by fragment of logic",
    caption:
      `Calibrated, all questions of ${counted(seeds.length, "seed")}, with 95 % intervals over questions. ` +
      `Fragments: ${ALL.map(({ name }, i) => `${i} ${name}`).join(", ")}.`,
    x: { title: "fragment", whole: true },
    y: { title: "share of right choices", range: [0, 1] },
    lines: [
      { ...meansLine("without demonstrations", places, columns(false)), joined: false },
      { ...meansLine("with demonstrations of the same fragment", places, columns(true)), joined: false },
      levelLine("chance: one of three", places, CHANCE),
      levelLine("ceiling", places, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** The questions of a seed: the same ones with demonstrations and without. */
function questionsOf(seed: number, { prompts, shots }: Pick<AskedParams, "prompts" | "shots">): Record<string, ChoiceItem[]> {
  return Object.fromEntries(
    ALL.flatMap((fragment, f) => [0, shots].map((shown) => [condition(fragment.name, shown > 0), drawFragment(fragment, { count: prompts, shots: shown }, new Random(seed, f))] as const)),
  );
} // biome-ignore format: a condition a line

const asked = askedBySeed<AskedParams>({ label: "fragments", questions: questionsOf, judge, figure: fragmentsFigure });
/** Time of asking the model a question of every fragment, in optimiser steps of a toy's layer. */
const ASKING = 1000;

/** Inference about generated fragments of logic, with demonstrations and without, and by toys that are fine-tuned on them. */
export const semanticFragments: Experiment<typeof parameters> = {
  name: "semantic-fragments",
  title: "Inference about fragments of logic",
  description:
    "A pretrained model says of generated premises and hypotheses whether they follow: plain ones, and ones that hang on a negation, " +
    "on 'and', quantifiers, numbers, conditions, comparisons or monotonicity. Toys learn the plain ones and are fine-tuned on the others, with plain ones among them and without.",
  source: RICHARDSON,
  trials:
    "Nothing was tried with the pretrained model. Of the toys' first training four settings were tried, one seed " +
    "each, before any fine-tuning was run; the third was taken. Thresholds, the fine-tuning's steps and the mix " +
    "were written before any of it was run.",
  parameters,
  presets: {
    quick: {},
    full: { seeds: [0, 1, 2, 3, 4, 5, 6, 7], prompts: 60, steps: 10_000, tuning_steps: 2000, d_model: 128, learning_rate: 1e-3 },
  },
  claims: [...claims, ...toyClaims],
  extent: asked.extent,
  stages: (params) => [
    ...asked.stages(params).map(({ label, work }) => ({ label, work: ASKING * work })),
    ...toyStages(params),
  ],
  async run(params, context) {
    checkToys(params, context);
    const { model, seeds, prompts, shots } = params;
    const answered = await asked.run({ model, seeds, prompts, shots }, context);
    const toys = await toyFinding(params, context);
    return { claims: [...answered.claims, ...toys.claims], figures: [...answered.figures, ...toys.figures] };
  },
}; // biome-ignore format: a preset a line
