import { z } from "zod";
import { checkShots, LABELLED_TEXTS, type LabelledTexts } from "../../synthetic-tasks/demonstrations/index.ts";
import { type ClaimStatement, type Experiment, type MeasurementPlan, seedList } from "../base.ts";
import { QUORUM_WORDS } from "../verdicts.ts";
import { circuitFigure, headsFigure, summaryFigure } from "./figures.ts";
import { COPYING_SHARE, judge, MARGIN, type SeedValues, summaryMargin, summaryWords } from "./judge.ts";
import { type CircuitValues, circuitValues, measureCircuit } from "./measure.ts";

const parameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the model"),
  seeds: seedList.default([0, 1, 2, 3]).describe("seeds of the prompts"),
  prompts: z.int().min(4).max(64).default(8).describe("prompts of each set of texts and seed"),
  shots: z.int().min(4).max(32).default(4).describe("demonstrations of a prompt, a multiple of the labels (2 and 4)"),
  spans: z.int().min(1).max(8).default(2).describe("equal spans of layers that are cut, beside all layers"),
  draws: z.int().min(1).max(20).default(2).describe("draws of as many random edges"),
  multiple: z.number().positive().max(100).default(5).describe("multiple of the even attention above which a head counts"),
}); // biome-ignore format: a parameter a line

type Params = z.output<typeof parameters>;

const CHO = "Cho et al. 2025, Revisiting In-context Learning Inference Circuit in Large Language Models";
const RIGHT = "an answer is right where the right label is the likeliest of all tokens";
const UNABLE =
  `A seed whose accuracy without cuts is less than ${MARGIN.able} above 1/labels cannot say. ` +
  `Accuracies are means over the sets of texts; ${RIGHT}.`;

const cutCheck = (control: string): string =>
  `Cut in all layers and heads, the accuracy is at least ${MARGIN.cut} lower than with ${control}, ${QUORUM_WORDS}. ${UNABLE}`;

const claims: readonly ClaimStatement[] = [
  {
    id: "summary",
    statement: "Texts are summarised at their forerunner tokens, the last ones before their labels.",
    source: `${CHO}, step 1`,
    check:
      "The kernel alignment (shared nearest neighbours, an eighth of the items) of the forerunners' streams with the mean " +
      `embeddings of their texts, mean over ${summaryWords}, is at least ${summaryMargin} above that of unrelated ` +
      `representations, ${QUORUM_WORDS}. The paper's reference is a sentence encoder, which is not at hand.`,
  },
  {
    id: "copy-heads",
    statement: "Heads of the query's forerunner attend to the right labels more than to the wrong ones.",
    source: `${CHO}, step 3`,
    check:
      "At least one head's attention to right labels minus wrong ones passes multiple / tokens / labels in at least " +
      `${100 * COPYING_SHARE} % of the prompts, in every set of texts, and more heads do than with a wrong label in the right one's place, ${QUORUM_WORDS}.`,
  },
  {
    id: "order",
    statement: "Heads that carry forerunners to labels stand in earlier layers than those that retrieve labels.",
    source: `${CHO}, steps 2 and 3`,
    check:
      "The mean layer of forerunner heads (attention of labels to their forerunners above multiple / tokens), weighed by the share " +
      `of prompts in which they count, is at least 2 layers lower than that of label-copy heads, ${QUORUM_WORDS}.`,
  },
  {
    id: "cut-summary",
    statement: "Without the way from the demonstrations' texts to their forerunners, in-context accuracy falls.",
    source: `${CHO}, table 1`,
    check: cutCheck("as many random edges"),
  },
  {
    id: "cut-query",
    statement: "Without the way from the query's text to its forerunner, in-context accuracy falls.",
    source: `${CHO}, table 1`,
    check: cutCheck("as many random edges"),
  },
  {
    id: "cut-merge",
    statement: "Without the way from forerunners to their labels, in-context accuracy falls.",
    source: `${CHO}, table 1`,
    check: cutCheck("as many random edges"),
  },
  {
    id: "cut-retrieval",
    statement: "Without the way from labels to the query's forerunner, in-context accuracy falls.",
    source: `${CHO}, table 1`,
    check: cutCheck("as many random edges, and with as many other edges of the query's forerunner itself"),
  },
  {
    id: "bypass",
    statement: "Other ways than the circuit's keep a part of the ability.",
    source: `${CHO}, bypass mechanisms`,
    check:
      `With all four steps cut in all layers the accuracy is at least ${MARGIN.bypass} above 1/labels, ${QUORUM_WORDS}. ${UNABLE}`,
  },
]; // biome-ignore format: a claim's parts a line

const label = ({ name }: LabelledTexts): string => `prompts of ${name}`;

/** The measurements of a set of texts, one a seed. */
function plans(texts: LabelledTexts, params: Params): MeasurementPlan<typeof circuitValues>[] {
  const { model, seeds, prompts, shots, spans, draws, multiple } = params;
  return seeds.map((seed) => {
    const settings = { seed, prompts, shots, spans, draws, multiple };
    return {
      name: "circuit",
      label: label(texts),
      model,
      settings: { texts: texts.name, ...settings, revision: 1 },
      values: circuitValues,
      measure: (loaded, means) => measureCircuit(loaded, texts, settings, means),
    };
  });
}

/** The circuit of in-context classification in a pretrained model: summary, merge, retrieval, and what goes past them. */
export const iclCircuit: Experiment<typeof parameters> = {
  name: "icl-circuit",
  title: "The circuit of in-context classification",
  description:
    "A pretrained model continues prompts of demonstrations 'text: label' and a query, made of word lists. Heads that carry a text to " +
    "its forerunner token, forerunners to labels and labels to the query are counted; each step's attention is taken away, against " +
    "as many random edges; and what stays without all of them is measured.",
  source: CHO,
  trials:
    "Accuracies with 0, 4 and 8 demonstrations had been seen when the measure of a right answer and the label words " +
    "were chosen, and a pilot of 4 prompts (seed 100) before the run. No threshold was changed after the pilot or " +
    "after a run.",
  parameters,
  presets: { quick: {}, full: { seeds: [0, 1, 2, 3, 4, 5, 6, 7], prompts: 32, spans: 4, draws: 3 } },
  claims,
  extent: "prompts",
  stages: ({ seeds, prompts }) => LABELLED_TEXTS.map((texts) => ({ label: label(texts), work: seeds.length * prompts })),
  async run(params, context) {
    for (const texts of LABELLED_TEXTS) checkShots(texts, params.shots);
    const byTexts: CircuitValues[][] = [];
    for (const texts of LABELLED_TEXTS) byTexts.push(await context.measure(plans(texts, params)));
    const seeds: SeedValues[] = params.seeds.map((_, s) =>
      LABELLED_TEXTS.map((texts, t) => ({ texts: texts.name, labels: texts.labels.length, ...byTexts[t]![s]! })),
    );
    const results = judge(seeds);
    const figures = [circuitFigure(seeds, params.spans), summaryFigure(seeds), headsFigure(seeds)];
    return { claims: results, figures };
  },
}; // biome-ignore format: an argument a line
