import type { Random } from "../../backend/common/random.ts";
import { drawPrompts, type LabelledText, type LabelledTexts } from "../../synthetic-tasks/demonstrations/index.ts";
import { sentiment } from "../../synthetic-tasks/demonstrations/sentiment.ts";
import { topic } from "../../synthetic-tasks/demonstrations/topic.ts";

/** Texts of two of the labels of a set. @param labels numbers of the two */
function pairOf(texts: LabelledTexts, labels: readonly [number, number]): LabelledTexts {
  const words = labels.map((label) => texts.labels[label]!);
  return {
    ...texts,
    name: words.join(" or "),
    description: `${texts.name}: ${words.join(" or ")}`,
    labels: words,
    slots: labels.map((label) => texts.slots[label]!),
  };
}

/** Tasks of two labels, those that a small run has first: reviews, and news of each two of four topics. */
export const TEXT_TASKS: readonly LabelledTexts[] = [
  { ...sentiment, name: sentiment.labels.join(" or ") },
  ...([[0, 1], [2, 3], [1, 2], [0, 3], [0, 2], [1, 3]] as const).map((labels) => pairOf(topic, labels)),
]; // biome-ignore format: a list

/** Texts of a task: shots, of which every even number from the first on has both labels equally often, and queries. */
export interface DrawnTexts {
  readonly shots: readonly LabelledText[];
  readonly queries: readonly LabelledText[];
}

/**
 * Draws different texts of a task with two labels.
 * @param count.shots an even number @param count.queries an even number
 * @throws HeadscopeError (usage) for more texts than there are
 */
export function drawTexts(
  texts: LabelledTexts,
  { shots, queries }: { shots: number; queries: number },
  random: Random,
): DrawnTexts {
  const drawn = drawPrompts(texts, { count: shots + queries, shots: 0 }, random).map(({ query }) => query);
  const [first, second] = [0, 1].map((label) => drawn.filter((text) => text.label === label)) as [
    LabelledText[],
    LabelledText[],
  ];
  const pairs = first.map((text, i) => (random.uniform() < 0.5 ? [text, second[i]!] : [second[i]!, text]));
  return { shots: pairs.slice(0, shots / 2).flat(), queries: pairs.slice(shots / 2).flat() };
}
