import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { Random } from "../../backend/common/random.ts";
import { counted } from "../../backend/common/text.ts";
import type { ChoiceItem } from "../../synthetic-tasks/reasoning/base.ts";
import { drawStory, POLAR, STORY_QUESTIONS, type StoryQuestion } from "../../synthetic-tasks/reasoning/stories.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, seedList } from "../base.ts";
import { levelLine, mean } from "../curves.ts";
import { differenceText, meansLine, meanText } from "../intervals.ts";
import { QUORUM_WORDS, vote } from "../verdicts.ts";
import { accuracyOf, askedBySeed, type ChoiceValues, chosen, rights } from "./choices.ts";

const parameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the model"),
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the stories"),
  prompts: z.int().min(8).max(256).default(16).describe("stories of each seed, each asked about and changed in every way"),
}); // biome-ignore format: a parameter a line
type Params = z.output<typeof parameters>;

const CHATURVEDI =
  "Chaturvedi et al. 2024, Analyzing Semantic Faithfulness of Language Models via Input Intervention on Conversational Question Answering";

/** Least share of answers that stay though their reason is gone; the paper has about a half. */
const KEPT = 0.25;
/** Least fall of an accuracy; the paper has about a fifth. */
const FALL = 0.1;
/** Accuracy above chance of a model that can do it at all. */
const ABLE = 0.15;
/** Chance of yes or no, known to be right in half of the plain questions each; and of a thing of the story, or nothing. */
const CHANCE = { polar: 1 / 2, which: 1 / 4 } as const;

const QUESTIONS = {
  polar: "of yes and no ('Did Anna buy the lamp?')",
  which: "for a thing ('What did Anna buy?')",
} as const;
type Kind = keyof typeof QUESTIONS;

/** By kind, the questions whose accuracy says that the model can do it, and those whose sentence is changed. */
const CONDITIONS: Readonly<Record<Kind, Readonly<{ able: readonly StoryQuestion[]; plain: StoryQuestion; deleted: StoryQuestion; negated: StoryQuestion }>>> = {
  polar: { able: ["true", "false"], plain: "true", deleted: "deleted", negated: "negated" },
  which: { able: ["which"], plain: "which", deleted: "which-deleted", negated: "which-negated" },
}; // biome-ignore format: a kind a line

const unable = (kind: Kind): string =>
  `A seed whose accuracy on stories as they are (${kind === "polar" ? "half yes, half no" : "a thing"}) is less than ` +
  `${ABLE} above ${CHANCE[kind]} cannot say.`;

const claims: readonly ClaimStatement[] = [
  ...(["polar", "which"] as const).flatMap((kind): ClaimStatement[] => [
    {
      id: `deletion-${kind}`,
      statement: `Many answers to questions ${QUESTIONS[kind]} stay when the sentence that says so is deleted.`,
      source: `${CHATURVEDI}: about 50 %`,
      check: `Of the questions that are answered rightly, at least ${100 * KEPT} % keep the answer, ${QUORUM_WORDS}. ${unable(kind)}`,
    },
    {
      id: `negation-${kind}`,
      statement: `Answers to questions ${QUESTIONS[kind]} are less often right when that sentence is negated.`,
      source: `${CHATURVEDI}: about 20 %`,
      check: `The accuracy is at least ${FALL} lower than with the sentence as it is, ${QUORUM_WORDS}. ${unable(kind)}`,
    },
  ]),
  {
    id: "roles",
    statement: "Models do not tell who did it to whom.",
    source: `${CHATURVEDI}, predicate-argument structure`,
    check:
      `With the two people of the deed exchanged in the question ("no" is right) the accuracy is at least ${FALL} lower than with another ` +
      `person in the place of the second ("no" as well), ${QUORUM_WORDS}. A seed whose accuracy on the people as they are and on that other person is less than ${ABLE} ` +
      `above ${CHANCE.polar} cannot say.`,
  },
]; // biome-ignore format: a claim's parts a line

const UNABLE = "the model hardly answers such questions";

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly ChoiceValues[]): ClaimResult[] {
  const all = (name: StoryQuestion) => seeds.flatMap((seed) => rights(seed[name]!));
  const able = (seed: ChoiceValues, names: readonly StoryQuestion[], chance: number) =>
    mean(names.map((name) => accuracyOf(seed[name]!))) >= chance + ABLE;
  const fall = (seed: ChoiceValues, from: StoryQuestion, to: StoryQuestion) => accuracyOf(seed[from]!) - accuracyOf(seed[to]!); // biome-ignore format: one line
  return [
    ...(["polar", "which"] as const).flatMap((kind): ClaimResult[] => {
      const { able: needed, plain, deleted, negated } = CONDITIONS[kind];
      const says = (seed: ChoiceValues) => able(seed, needed, CHANCE[kind]);
      const accuracies = Object.fromEntries(needed.map((name) => [`accuracy, ${TITLES[name]}`, meanText(all(name))]));
      return [
        {
          id: `deletion-${kind}`,
          measured: {
            ...accuracies,
            "share of right answers that stay": meanText(seeds.flatMap((seed) => kept(seed, kind))),
            "right behind the deletion": meanText(all(deleted)),
            "a guess stays": kind === "polar" ? 1 / POLAR.length : CHANCE.which,
          },
          ...vote(
            seeds.map((seed) => (says(seed) ? mean(kept(seed, kind)) >= KEPT : undefined)),
            "that many stay",
            UNABLE,
          ),
        },
        {
          id: `negation-${kind}`,
          measured: {
            ...accuracies,
            "accuracy, negated": meanText(all(negated)),
            "difference": differenceText(all(negated).map((right, i) => right - all(plain)[i]!)),
            "chance": kind === "polar" ? 1 / POLAR.length : CHANCE.which,
            "full score": 1,
          },
          ...vote(
            seeds.map((seed) => (says(seed) ? fall(seed, plain, negated) >= FALL : undefined)),
            "the accuracy is that much lower",
            UNABLE,
          ),
        },
      ];
    }),
    {
      id: "roles",
      measured: {
        "accuracy, people as they are": meanText(all("straight")),
        "accuracy, another person": meanText(all("other")),
        "accuracy, exchanged": meanText(all("swapped")),
        "difference to another person": differenceText(all("swapped").map((right, i) => right - all("other")[i]!)),
        "chance": 1 / POLAR.length,
        "full score": 1,
      },
      ...vote(
        seeds.map((seed) => (able(seed, ["straight", "other"], CHANCE.polar) ? fall(seed, "other", "swapped") >= FALL : undefined)),
        "the accuracy is that much lower",
        UNABLE,
      ),
    },
  ];
} // biome-ignore format: a value a line

/** Of the questions that are answered rightly, 1 where the answer is the same without its sentence. */
function kept(seed: ChoiceValues, kind: Kind): number[] {
  const { plain, deleted } = CONDITIONS[kind];
  return seed[plain]!.flatMap((item, i) =>
    chosen(item) === item.answer ? [chosen(seed[deleted]![i]!) === item.answer ? 1 : 0] : [],
  );
}

const TITLES: Readonly<Record<StoryQuestion, string>> = {
  true: "yes",
  false: "no",
  deleted: "deleted, unknown",
  negated: "negated, no",
  which: "a thing",
  "which-deleted": "deleted, nothing",
  "which-negated": "negated, nothing",
  straight: "who to whom, yes",
  other: "another person, no",
  swapped: "exchanged, no",
};

function faithfulnessFigure(seeds: readonly ChoiceValues[]): LineFigure {
  const places = STORY_QUESTIONS.map((_, i) => i + 1);
  const chances = STORY_QUESTIONS.map((name) => (name.startsWith("which") ? CHANCE.which : 1 / POLAR.length));
  return {
    kind: "lines",
    name: "interventions",
    title: "Right answers about stories as they are and as they are changed",
    caption:
      `All questions of ${counted(seeds.length, "seed")}, with 95 % intervals over questions. ` +
      `Questions: ${STORY_QUESTIONS.map((name, i) => `${i + 1} ${TITLES[name]}`).join("; ")}.`,
    x: { title: "question", whole: true },
    y: { title: "share of right choices", range: [0, 1] },
    lines: [
      {
        ...meansLine("the model", places, STORY_QUESTIONS.map((name) => seeds.flatMap((seed) => rights(seed[name]!)))),
        joined: false,
      },
      { name: "chance", x: places, y: chances, dashed: true },
      levelLine("ceiling", places, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** The questions about a seed's stories, by question. */
function questionsOf(seed: number, { prompts }: Pick<Params, "prompts">): Record<string, ChoiceItem[]> {
  const random = new Random(seed);
  const drawn = Array.from({ length: prompts }, () => drawStory(random));
  return Object.fromEntries(STORY_QUESTIONS.map((name) => [name, drawn.map((items) => items[name])]));
}

/** Answers about stories whose deciding sentence is deleted or negated, or whose people are exchanged. */
export const semanticFaithfulness: Experiment<typeof parameters> = {
  name: "semantic-faithfulness",
  title: "Answers whose reason is taken away",
  description:
    "A pretrained model answers questions about short stories, behind examples of such questions: as the stories are, without the " +
    "sentence that decides, with its negation, and about who did it to whom.",
  source: CHATURVEDI,
  trials:
    "Nothing was tried with the pretrained model: thresholds and sizes were written before anything was measured. " +
    "Toys were tried, which stayed at guessing, and are not part of the experiment. The full preset's stories were " +
    "halved for the time before it was run.",
  parameters,
  presets: { quick: {}, full: { seeds: [0, 1, 2, 3, 4, 5, 6, 7], prompts: 48 } },
  claims,
  ...askedBySeed({ label: "stories", questions: questionsOf, judge, figure: faithfulnessFigure }),
};
