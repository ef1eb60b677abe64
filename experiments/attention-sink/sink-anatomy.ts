import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, type MeasurementPlan, seedList } from "../base.ts";
import { levelLine, mean, meanCaption, meanLine, median } from "../curves.ts";
import { PASSAGES } from "../early-exit/passages.ts";
import { vote } from "../verdicts.ts";
import { type AnatomyValues, anatomyValues, measureAnatomy, PARTS, type Part } from "./anatomy.ts";

const parameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the model"),
  texts: seedList
    .refine((texts) => texts.every((text) => text < PASSAGES.length), `there are ${PASSAGES.length} texts, from 0`)
    .default(PASSAGES.map((_, i) => i))
    .describe("numbers of the texts, prose and code in turn"),
  windows: z.int().min(1).max(32).default(4).describe("windows of each text, which begin at different tokens"),
  tokens: z.int().min(16).max(96).default(64).describe("tokens of a window"),
});

const GU = "Gu et al. 2025, When Attention Sink Emerges in Language Models, section 3";

/** Bounds of the median over layers of the first token's value over the others': from hidden norms to cosines. */
const BOUNDS = { hidden: 5, key: 0.8, value: 0.5, angle: 0.2 } as const;

const QUORUM = "in at least three quarters of the texts";
const OTHERS = "the mean of the window's other tokens, as a median over the layers";

const claims: readonly ClaimStatement[] = [
  {
    id: "hidden-norm",
    statement: "The hidden state of the first token is much longer than others.",
    source: GU,
    seeds: "texts",
    check: `Its norm before a layer is at least ${BOUNDS.hidden} times ${OTHERS}, ${QUORUM}.`,
  },
  {
    id: "key-norm",
    statement: "The key of the first token is shorter than others.",
    source: GU,
    seeds: "texts",
    check: `Its norm is at most ${BOUNDS.key} of ${OTHERS}, ${QUORUM}.`,
  },
  {
    id: "value-norm",
    statement: "The value of the first token is much shorter than others.",
    source: GU,
    seeds: "texts",
    check: `Its norm is at most ${BOUNDS.value} of ${OTHERS}, ${QUORUM}.`,
  },
  {
    id: "angle",
    statement: "Queries are aligned with the first token's key, which wins by the angle and not by its length.",
    source: GU,
    seeds: "texts",
    check: `The cosine of later queries with its key is at least ${BOUNDS.angle} above that with the other keys that they see, as a median over the layers, ${QUORUM}.`,
  },
  {
    id: "first-alone",
    statement: "It is the first token, not its word, that is so.",
    source: `Expected of ${GU}`,
    seeds: "texts",
    check:
      "The windows begin at different tokens of a text. The token in the middle of a window passes none of the four bounds, measured " +
      `against the others of the window without the first, ${QUORUM}.`,
  },
]; // biome-ignore format: a claim's parts a line

type Place = "first" | "middle";

/** Medians over the layers of a text: ratios of norms, and the difference of cosines. */
function medians(text: AnatomyValues, place: Place): Record<Part, number> {
  return Object.fromEntries(PARTS.map((part) => [part, median(byLayer(text, place, part))])) as Record<Part, number>;
}

/** A place's value over that of the others, by layer; of cosines less it. */
function byLayer(text: AnatomyValues, place: Place, part: Part): number[] {
  const { own, others } = text[place][part];
  return own.map((value, layer) => (part === "angle" ? value - others[layer]! : value / others[layer]!));
}

/** True of a part, and of medians, that passes its bound. */
function passes(part: Part, values: Readonly<Record<Part, number>>): boolean {
  return part === "key" || part === "value" ? values[part] <= BOUNDS[part] : values[part] >= BOUNDS[part];
}

const CLAIM_OF: Readonly<Record<Part, string>> = { hidden: "hidden-norm", key: "key-norm", value: "value-norm", angle: "angle" }; // biome-ignore format: one line

/** Decides the claims. @param texts one each */
export function judge(texts: readonly AnatomyValues[]): ClaimResult[] {
  const [firsts, middles] = [texts.map((text) => medians(text, "first")), texts.map((text) => medians(text, "middle"))];
  const range = (values: readonly number[]) => `${mean(values).toFixed(2)} (${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)})`; // biome-ignore format: one line
  const noun = "text";
  return [
    ...PARTS.map((part): ClaimResult => {
      const layers = texts.map((text) => byLayer(text, "first", part).filter((value) => passes(part, { ...medians(text, "first"), [part]: value })).length); // biome-ignore format: one line
      return {
        id: CLAIM_OF[part],
        measured: {
          [part === "angle" ? "cosine above that with others" : "of the others' norm"]: range(firsts.map((values) => values[part])), // biome-ignore format: one line
          "the same of the middle token": range(middles.map((values) => values[part])),
          [`layers of ${texts[0]!.first[part].own.length} in which it passes`]: mean(layers),
        },
        ...vote(firsts.map((values) => passes(part, values)), "it passes the bound", "", noun), // biome-ignore format: one line
      };
    }),
    {
      id: "first-alone",
      measured: {
        "bounds that a middle token passes, mean": mean(middles.map((values) => PARTS.filter((part) => passes(part, values)).length)), // biome-ignore format: one line
        "bounds that the first token passes, mean": mean(firsts.map((values) => PARTS.filter((part) => passes(part, values)).length)), // biome-ignore format: one line
      },
      ...vote(middles.map((values) => PARTS.every((part) => !passes(part, values))), "a middle token passes none", "", noun), // biome-ignore format: one line
    },
  ];
}

function normsFigure(texts: readonly AnatomyValues[]): LineFigure {
  const layers = texts[0]!.first.key.own.map((_, layer) => layer);
  const curves = (place: Place, part: Part) => texts.map((text) => ({ steps: layers, values: byLayer(text, place, part) }));
  return {
    kind: "lines",
    name: "norms",
    title: "The first token's norms against the others'",
    caption: `Of keys and values the mean over heads. ${meanCaption(texts.length, "text")}`,
    x: { title: "layer", whole: true },
    y: { title: "first token / mean of the others", log: true },
    lines: [
      meanLine("hidden state", curves("first", "hidden")),
      meanLine("key", curves("first", "key")),
      meanLine("value", curves("first", "value")),
      meanLine("hidden state of a middle token", curves("middle", "hidden")),
      levelLine("chance: a token like the others", layers, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

function anglesFigure(texts: readonly AnatomyValues[]): LineFigure {
  const layers = texts[0]!.first.angle.own.map((_, layer) => layer);
  const curves = (of: (text: AnatomyValues) => number[]) => texts.map((text) => ({ steps: layers, values: of(text) }));
  return {
    kind: "lines",
    name: "angles",
    title: "Cosines of queries and keys, and the attention that follows",
    caption: `Means over heads. ${meanCaption(texts.length, "text")}`,
    x: { title: "layer", whole: true },
    y: { title: "cosine, or share of the attention", range: [-1, 1] },
    lines: [
      meanLine("with the first token's key", curves(({ first }) => first.angle.own)),
      meanLine("with the other keys", curves(({ first }) => first.angle.others)),
      meanLine("with a middle token's key", curves(({ middle }) => middle.angle.own)),
      meanLine("attention to the first token", curves(({ attention }) => attention)),
      levelLine("chance: unrelated directions", layers, 0),
      levelLine("ceiling", layers, 1),
    ],
  };
} // biome-ignore format: a line of the figure a line

const LABEL = "texts";

/** The anatomy of the attention sink of a pretrained model, by layer. */
export const sinkAnatomy: Experiment<typeof parameters> = {
  name: "sink-anatomy",
  title: "The anatomy of an attention sink",
  description:
    "The first token of windows of text in a pretrained model, by layer: lengths of its hidden state, key and value against those of the " +
    "other tokens, and the angles of later queries with its key.",
  source: "Gu et al. 2025, When Attention Sink Emerges in Language Models",
  trials: "Nothing was tried before the bounds were written, and none was changed.",
  parameters,
  presets: { quick: {}, full: { windows: 16 } },
  claims,
  extent: "windows",
  stages: ({ texts }) => [{ label: LABEL, work: texts.length }],
  async run({ model, texts: numbers, windows, tokens }, { measure }) {
    const plans = numbers.map((number): MeasurementPlan<typeof anatomyValues> => {
      const { text } = PASSAGES[number]!;
      return {
        name: "anatomy",
        label: LABEL,
        model,
        settings: { text, windows, tokens, revision: 1 },
        values: anatomyValues,
        measure: (loaded, means) => measureAnatomy(loaded, { text, windows, tokens }, means),
      };
    });
    const texts = await measure(plans);
    return { claims: judge(texts), figures: [normsFigure(texts), anglesFigure(texts)] };
  },
};
