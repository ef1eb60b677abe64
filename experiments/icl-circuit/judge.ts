import type { ClaimResult } from "../base.ts";
import { mean } from "../curves.ts";
import { differenceText } from "../intervals.ts";
import { vote } from "../verdicts.ts";
import type { Answers, CircuitValues } from "./measure.ts";
import type { StepName } from "./steps.ts";

/** A set of texts in one seed, with all that was measured of it. */
export interface TextValues extends CircuitValues {
  readonly texts: string;
  /** Number of labels. */
  readonly labels: number;
}

/** A seed, with its sets of texts. */
export type SeedValues = readonly TextValues[];

/** Least differences of accuracies that count. */
export const MARGIN = { able: 0.15, cut: 0.1, bypass: 0.1 } as const;
/** Least kernel alignment above that of unrelated representations. */
export const summaryMargin = 0.1;
/** The layers whose alignment counts, in words. */
export const summaryWords = "the middle third of the layers";
/** Share of the prompts in which a head must pass the threshold of copying. */
export const COPYING_SHARE = 0.5;
/** Least distance of the mean layers of two kinds of heads. */
const APART = 2;

/** Accuracy of answers over the whole vocabulary, mean over the sets of texts. */
export function accuracy(seed: SeedValues, of: (values: TextValues) => Answers | readonly Answers[]): number {
  return mean(seed.map((values) => mean(list(of(values)).flatMap(({ all }) => all))));
}

/** Accuracy of guessing one of the labels, mean over the sets of texts. */
export function chanceOf(seed: SeedValues): number {
  return mean(seed.map(({ labels }) => 1 / labels));
}

function list(answers: Answers | readonly Answers[]): readonly Answers[] {
  return Array.isArray(answers) ? answers : [answers as Answers];
}

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly SeedValues[]): ClaimResult[] {
  return [
    summary(seeds),
    copyHeads(seeds),
    order(seeds),
    ...(["summary", "query", "merge"] as const).map((step) => cut(seeds, step, [(v) => v.random[step]!])),
    cut(seeds, "retrieval", [(v) => v.random["retrieval"]!, (v) => v.siblings]),
    bypass(seeds),
  ];
}

function summary(seeds: readonly SeedValues[]): ClaimResult {
  const gains = seeds.map((seed) =>
    mean(seed.map(({ measures: { alignment, chance } }) => mean(middle(alignment)) - chance.alignment)),
  );
  const peaks = seeds.flatMap((seed) => seed.map(({ measures: { alignment } }) => alignment.indexOf(Math.max(...alignment)))); // biome-ignore format: one line
  const alignments = seeds.flatMap((seed) => seed.map(({ measures }) => measures.alignment));
  return {
    id: "summary",
    measured: {
      "alignment, mean of the middle third": mean(alignments.map((each) => mean(middle(each)))),
      "alignment at its best layer, mean": mean(alignments.map((each) => Math.max(...each))),
      "best layers": `${Math.min(...peaks)} to ${Math.max(...peaks)}`,
      "unrelated representations": mean(seeds.flatMap((seed) => seed.map(({ measures }) => measures.chance.alignment))),
    },
    ...vote(gains.map((gain) => gain >= summaryMargin), "the alignment is that much higher", ""),
  }; // biome-ignore format: a value a line
}

function middle(byPlace: readonly number[]): readonly number[] {
  return byPlace.slice(Math.floor(byPlace.length / 3), Math.ceil((2 * byPlace.length) / 3));
}

/** Heads that pass in enough of the prompts. */
function often(shares: readonly (readonly number[])[]): number {
  return shares.flat().filter((share) => share >= COPYING_SHARE).length;
}

function copyHeads(seeds: readonly SeedValues[]): ClaimResult {
  const counts = seeds.map((seed) =>
    seed.map(({ measures }) => ({ right: often(measures.copying), wrong: often(measures.wrong) })),
  );
  const total = (seed: (typeof counts)[number], which: "right" | "wrong") => mean(seed.map((each) => each[which]));
  return {
    id: "copy-heads",
    measured: {
      "label-copy heads, mean": mean(counts.map((seed) => total(seed, "right"))),
      "the same with a wrong label": mean(counts.map((seed) => total(seed, "wrong"))),
    },
    ...vote(
      counts.map((seed) => seed.every(({ right }) => right > 0) && total(seed, "right") > total(seed, "wrong")),
      "there are such heads, and more than with a wrong label",
      "",
    ),
  };
}

/** Mean layer of heads, weighed by the shares in which they count; undefined where none does. */
function meanLayer(shares: readonly (readonly number[])[]): number | undefined {
  const byLayer = shares.map((heads) => heads.reduce((sum, share) => sum + share, 0));
  const total = byLayer.reduce((sum, count) => sum + count, 0);
  return total > 0 ? byLayer.reduce((sum, count, layer) => sum + layer * count, 0) / total : undefined;
}

function order(seeds: readonly SeedValues[]): ClaimResult {
  const layers = seeds.map((seed) => {
    const sum = (of: (v: TextValues) => number[][]) =>
      of(seed[0]!).map((heads, l) => heads.map((_, h) => mean(seed.map((v) => of(v)[l]![h]!))));
    return [meanLayer(sum((v) => v.measures.forerunner)), meanLayer(sum((v) => v.measures.copying))] as const;
  });
  const present = (which: 0 | 1) => layers.flatMap((pair) => pair[which] ?? []);
  return {
    id: "order",
    measured: {
      "mean layer of forerunner heads": present(0).length > 0 ? mean(present(0)) : null,
      "mean layer of label-copy heads": present(1).length > 0 ? mean(present(1)) : null,
    },
    ...vote(
      layers.map(([first, last]) => (first === undefined || last === undefined ? undefined : last - first >= APART)),
      `forerunner heads stand at least ${APART} layers earlier`,
      "one kind of head was not found",
    ),
  };
}

/** The seed has the ability that the steps are about. */
function able(seed: SeedValues): boolean {
  return accuracy(seed, ({ clean }) => clean) >= chanceOf(seed) + MARGIN.able;
}

const UNABLE = "the model hardly does the task";

function cut(seeds: readonly SeedValues[], step: StepName, controls: readonly ((v: TextValues) => readonly Answers[])[]): ClaimResult {
  const own = (values: TextValues) => values.steps[step]![0]!;
  const differences = controls.map((control) => seeds.map((seed) => accuracy(seed, own) - accuracy(seed, control)));
  const names = ["as many random edges", "other edges of the same queries"];
  const among = seeds.flatMap((seed) => seed.flatMap((values) => own(values).among));
  return {
    id: `cut-${step}`,
    measured: {
      "accuracy without cuts": mean(seeds.map((seed) => accuracy(seed, ({ clean }) => clean))),
      "accuracy with the step cut": mean(seeds.map((seed) => accuracy(seed, own))),
      ...Object.fromEntries(controls.map((control, i) => [`accuracy with ${names[i]} cut`, mean(seeds.map((seed) => accuracy(seed, control)))])),
      ...Object.fromEntries(controls.map((control, i) => [`difference to ${names[i]}`, differenceText(differencesOf(seeds, own, control))])),
      "the same among the labels alone": mean(among),
    },
    ...vote(
      seeds.map((seed, s) => (able(seed) ? differences.every((each) => each[s]! <= -MARGIN.cut) : undefined)),
      "the step costs that much more",
      UNABLE,
    ),
  };
} // biome-ignore format: a value a line

/** The paired differences of all prompts. */
function differencesOf(
  seeds: readonly SeedValues[],
  own: (values: TextValues) => Answers,
  control: (values: TextValues) => readonly Answers[],
): number[] {
  return seeds.flatMap((seed) =>
    seed.flatMap((values) =>
      own(values).all.map((right, p) => right - mean(control(values).map(({ all }) => all[p]!))),
    ),
  );
}

function bypass(seeds: readonly SeedValues[]): ClaimResult {
  const kept = (seed: SeedValues) => accuracy(seed, ({ together }) => together);
  return {
    id: "bypass",
    measured: {
      "accuracy without cuts": mean(seeds.map((seed) => accuracy(seed, ({ clean }) => clean))),
      "accuracy with all steps cut": mean(seeds.map(kept)),
      "the same among the labels alone": mean(seeds.flatMap((seed) => seed.flatMap(({ together }) => together.among))),
      "accuracy without demonstrations": mean(seeds.map((seed) => accuracy(seed, ({ zeroShot }) => zeroShot))),
      "the same without demonstrations, among the labels alone": mean(
        seeds.flatMap((seed) => seed.flatMap(({ zeroShot }) => zeroShot.among)),
      ),
      chance: mean(seeds.map(chanceOf)),
    },
    ...vote(
      seeds.map((seed) => (able(seed) ? kept(seed) >= chanceOf(seed) + MARGIN.bypass : undefined)),
      "that much stays",
      UNABLE,
    ),
  };
}
