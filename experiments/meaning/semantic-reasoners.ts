import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { Random } from "../../backend/common/random.ts";
import { counted } from "../../backend/common/text.ts";
import type { ChoiceItem } from "../../synthetic-tasks/reasoning/base.ts";
import { drawKinship, REASONING, RELATION_WORDS, type Reasoning, type RelationWords } from "../../synthetic-tasks/reasoning/kinship.ts"; // biome-ignore format: one line
import { type ClaimResult, type ClaimStatement, type Experiment, seedList } from "../base.ts";
import { levelLine } from "../curves.ts";
import { differenceText, meansLine, meanText } from "../intervals.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { accuracyOf, askedBySeed, type ChoiceValues, rights } from "./choices.ts";

const parameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the model"),
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the questions"),
  prompts: z.int().min(8).max(256).default(24).describe("questions of each seed, each in every kind and wording"),
});
type Params = z.output<typeof parameters>;

const TANG = "Tang et al. 2023, Large Language Models are In-Context Semantic Reasoners rather than Symbolic Reasoners";

/** Accuracy of a guess among the three choices. */
const CHANCE = 1 / 3;
/** Least difference of accuracies that counts, and least accuracy above chance of a model that can do it at all. */
const MARGIN = { more: 0.1, able: 0.15 } as const;
const UNABLE = `A seed whose accuracy with the relations' own words is less than ${MARGIN.able} above 1/3 cannot say.`;

const condition = (kind: Reasoning, words: RelationWords): string => `${kind}, ${words}`;
const WITHOUT = "deduction, semantic, without rules";

const OTHER_WORDS: Readonly<Record<Exclude<RelationWords, "semantic">, string>> = {
  symbolic: "letters in the place of the relations",
  counter: "the rules' conclusions exchanged against common sense",
};
const OTHERS = Object.keys(OTHER_WORDS) as (keyof typeof OTHER_WORDS)[];

const claims: readonly ClaimStatement[] = [
  ...REASONING.flatMap((kind) =>
    OTHERS.map((words): ClaimStatement => ({
      id: `${kind}-${words}`,
      statement: `${kind[0]!.toUpperCase()}${kind.slice(1)} goes worse with ${OTHER_WORDS[words]}.`,
      source: TANG,
      check: `The accuracy is at least ${MARGIN.more} lower than with the relations' own words, on the same questions, ${QUORUM_WORDS}. ${UNABLE}`,
    })),
  ),
  {
    id: "without-rules",
    statement: "Relations with a meaning are concluded without the rules: the words do it.",
    source: TANG,
    check:
      `Without any rule the accuracy of deduction is at least ${MARGIN.able} above 1/3, and at most ${MARGIN.more} below that with the ` +
      `rules, ${QUORUM_WORDS}. ${UNABLE}`,
  },
]; // biome-ignore format: a claim's parts a line

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly ChoiceValues[]): ClaimResult[] {
  const able = (seed: ChoiceValues, kind: Reasoning) => accuracyOf(seed[condition(kind, "semantic")]!) >= CHANCE + MARGIN.able; // biome-ignore format: one line
  const all = (name: string) => seeds.flatMap((seed) => rights(seed[name]!));
  const differences = (own: string, other: string) => all(own).map((right, i) => right - all(other)[i]!);
  const compared = (kind: Reasoning, own: string) => ({
    "accuracy with the relations' own words": meanText(all(condition(kind, "semantic"))),
    "the accuracy here": meanText(all(own)),
    "difference": differenceText(differences(own, condition(kind, "semantic"))),
    "chance": CHANCE,
    "full score": 1,
  }); // biome-ignore format: a value a line
  const drop = (seed: ChoiceValues, kind: Reasoning, own: string) => accuracyOf(seed[condition(kind, "semantic")]!) - accuracyOf(seed[own]!); // biome-ignore format: one line
  return [
    ...REASONING.flatMap((kind) =>
      OTHERS.map((words): ClaimResult => {
        const own = condition(kind, words);
        return {
          id: `${kind}-${words}`,
          measured: compared(kind, own),
          ...vote(
            seeds.map((seed) => (able(seed, kind) ? drop(seed, kind, own) >= MARGIN.more : undefined)),
            "it goes that much worse",
            "the model hardly does it with the relations' own words",
          ),
        };
      }),
    ),
    {
      id: "without-rules",
      measured: compared("deduction", WITHOUT),
      ...vote(
        seeds.map((seed) =>
          able(seed, "deduction")
            ? accuracyOf(seed[WITHOUT]!) >= CHANCE + MARGIN.able && drop(seed, "deduction", WITHOUT) <= MARGIN.more
            : undefined,
        ),
        "the rules are hardly needed",
        "the model hardly does it with the relations' own words",
      ),
    },
  ];
}

const TITLES: Readonly<Record<RelationWords, string>> = {
  semantic: "the relations' own words",
  symbolic: "letters",
  counter: "conclusions exchanged",
};

function reasoningFigure(seeds: readonly ChoiceValues[]): LineFigure {
  const places = REASONING.map((_, i) => i + 1);
  const all = (name: string) => seeds.flatMap((seed) => rights(seed[name]!));
  return {
    kind: "lines",
    name: "reasoning",
    title: "Right conclusions by kind of reasoning and words",
    caption:
      `All questions of ${counted(seeds.length, "seed")}, with 95 % intervals over questions. ` +
      `Kinds: ${REASONING.map((kind, i) => `${i + 1} ${kind}`).join(", ")}.`,
    x: { title: "kind of reasoning", whole: true },
    y: { title: "share of right choices", range: [0, 1] },
    lines: [
      ...RELATION_WORDS.map((words) => ({
        ...meansLine(TITLES[words], places, REASONING.map((kind) => all(condition(kind, words)))),
        joined: false,
      })),
      { ...meansLine("their own words, without rules", [1], [all(WITHOUT)]), joined: false },
      levelLine("chance: one of three", places, CHANCE),
      levelLine("ceiling", places, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** The questions of a seed, by kind and words. */
function questionsOf(seed: number, { prompts }: Pick<Params, "prompts">): Record<string, ChoiceItem[]> {
  const random = new Random(seed);
  const drawn = Array.from({ length: prompts }, () => drawKinship(random));
  const all = REASONING.flatMap((kind) =>
    RELATION_WORDS.map((words) => [condition(kind, words), drawn.map(({ items }) => items[kind][words])] as const),
  );
  return { ...Object.fromEntries(all), [WITHOUT]: drawn.map(({ withoutRules }) => withoutRules) };
}

/** Deduction, induction and abduction about relatives, told in words with a meaning, in letters, and against common sense. */
export const semanticReasoners: Experiment<typeof parameters> = {
  name: "semantic-reasoners",
  title: "Reasoning in words and in symbols",
  description:
    "A pretrained model draws conclusions about relatives by rules that stand in the prompt, finds the rule in examples, and finds a " +
    "premise by rule and conclusion; the relations have their own names, letters instead, or names exchanged against common sense.",
  source: TANG,
  trials:
    "Nothing was tried: thresholds and sizes were written before anything was measured. The full preset's questions " +
    "were halved for the time before it was run.",
  parameters,
  presets: { quick: {}, full: { seeds: [0, 1, 2, 3, 4, 5, 6, 7], prompts: 64 } },
  claims,
  ...askedBySeed({ label: "questions", questions: questionsOf, judge, figure: reasoningFigure }),
};
