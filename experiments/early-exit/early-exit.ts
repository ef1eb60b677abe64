import { z } from "zod";
import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { counted } from "../../backend/common/text.ts";
import { type ClaimResult, type ClaimStatement, type Experiment, type MeasurementPlan, seedList } from "../base.ts";
import { type Curve, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { vote } from "../verdicts.ts";
import { accuracyAfter, alreadyRight, exitAt, THRESHOLDS, thresholdFor } from "./exits.ts";
import { type LensValues, lensReadings, lensValues } from "./measure.ts";
import { PASSAGES } from "./passages.ts";

const parameters = z.object({
  model: z.string().min(1).max(500).default("smollm2-135m").describe("reference of the model"),
  texts: seedList
    .refine((texts) => texts.every((text) => text < PASSAGES.length), `there are ${PASSAGES.length} texts, from 0`)
    .refine((texts) => texts.length > 1, "a threshold is chosen on the other texts: give two or more")
    .default(PASSAGES.map((_, i) => i))
    .describe("numbers of the texts, prose and code in turn"),
  tokens: z.int().min(16).max(1024).default(96).describe("tokens of each text that are read"),
});

const SUN = "Sun et al. 2024, When Neural Code Completion Models Size up the Situation";
const JIN = "Jin and Wu 2024, CE-CoLLM";

/** Least share of the right tokens that is right half way. */
const HALF_WAY = 0.25;
/** Share of the whole model's accuracy that a threshold keeps on the other texts, and the share that must be left on a text. */
const KEPT = { chosen: 0.98, left: 0.95 } as const;
/** Least share of the layers that is worth saving. */
const SAVED = 0.1;
/** Least gain over leaving at one layer. */
const GAIN = 0.05;

const QUORUM = "in at least three quarters of the texts";

const claims: readonly ClaimStatement[] = [
  {
    id: "right-half-way",
    statement: "Many tokens are already right after a part of the layers.",
    source: SUN,
    seeds: "texts",
    check:
      "After half of the layers, the logit lens has at least " +
      `${100 * HALF_WAY} % of the tokens right that the whole model gets right, ${QUORUM}. The papers train exits; the lens is the model's own last norm and unembedding.`,
  },
  {
    id: "layers-saved",
    statement: "Leaving where the confidence passes a threshold saves layers at almost the same accuracy.",
    source: `${JIN}; ${SUN}`,
    seeds: "texts",
    check:
      `With the least threshold that keeps ${100 * KEPT.chosen} % of the whole model's accuracy on the other texts, at least ${100 * SAVED} % of ` +
      `the layers are saved on a text and ${100 * KEPT.left} % of its accuracy is left, ${QUORUM}.`,
  },
  {
    id: "confidence-chooses",
    statement: "The confidence tells the tokens that need fewer layers.",
    source: `Expected of ${JIN}`,
    seeds: "texts",
    check:
      `With the threshold 0.8 the accuracy is at least ${GAIN} above that of leaving every token after one number of layers, the same on ` +
      `average (rounded up), ${QUORUM}. A text on which fewer than ${100 * SAVED} % of the layers are saved cannot say.`,
  },
]; // biome-ignore format: a claim's parts a line

/** Threshold of the third claim, one of CE-CoLLM's. */
const CONFIDENT = 0.8;

/** Decides the claims. @param texts one each */
export function judge(texts: readonly LensValues[]): ClaimResult[] {
  const layers = texts[0]!.likeliest.length - 1;
  const half = texts.map((text) => alreadyRight(text, Math.floor(layers / 2)));
  const whole = texts.map((text) => accuracyAfter(text, layers));
  const thresholds = texts.map((_, i) => thresholdFor(texts.filter((__, j) => j !== i), KEPT.chosen)); // biome-ignore format: one line
  const chosen = texts.map((text, i) => exitAt(text, thresholds[i]!));
  const confident = texts.map((text) => exitAt(text, CONFIDENT));
  const fixed = texts.map((text, i) => accuracyAfter(text, Math.ceil((1 - confident[i]!.saved) * layers)));
  const accuracy = { "accuracy of the whole model": mean(whole) };
  return [
    {
      id: "right-half-way",
      measured: {
        ...accuracy,
        [`already right after ${Math.floor(layers / 2)} of ${layers} layers`]: mean(half.filter(Number.isFinite)),
        [`already right after ${Math.floor((3 * layers) / 4)}`]: mean(
          texts.map((text) => alreadyRight(text, Math.floor((3 * layers) / 4))).filter(Number.isFinite),
        ),
      },
      ...vote(
        half.map((share) => (Number.isFinite(share) ? share >= HALF_WAY : undefined)),
        "that many are right half way",
        "the model gets no token right",
        "text",
      ),
    },
    {
      id: "layers-saved",
      measured: {
        ...accuracy,
        "accuracy with exits": mean(chosen.map((each) => each.accuracy)),
        "layers saved": mean(chosen.map(({ saved }) => saved)),
        thresholds: [...new Set(thresholds)].sort((a, b) => a - b).join(", "),
      },
      ...vote(
        chosen.map(({ accuracy, saved }, i) => saved >= SAVED && accuracy >= KEPT.left * whole[i]!),
        "layers are saved and the accuracy is left",
        "",
        "text",
      ),
    },
    {
      id: "confidence-chooses",
      measured: {
        [`accuracy with exits at ${CONFIDENT}`]: mean(confident.map((each) => each.accuracy)),
        "layers saved": mean(confident.map(({ saved }) => saved)),
        "accuracy of leaving after as many layers": mean(fixed),
      },
      ...vote(
        confident.map(({ accuracy, saved }, i) => (saved >= SAVED ? accuracy >= fixed[i]! + GAIN : undefined)),
        "the confidence chooses better than one layer for all",
        "hardly a layer was saved",
        "text",
      ),
    },
  ];
}

/** Share of the commonest token that follows: what guessing without the model gets. */
function guessing({ targets }: LensValues): number {
  const counts = new Map<number, number>();
  for (const id of targets) counts.set(id, (counts.get(id) ?? 0) + 1);
  return Math.max(...counts.values()) / targets.length;
}

function layersFigure(texts: readonly LensValues[], kinds: readonly string[]): LineFigure {
  const places = texts[0]!.likeliest.map((_, place) => place);
  const level = (name: string, value: number) => levelLine(name, places, value);
  const lines = [...new Set(kinds)].map((kind) => {
    const own = texts.filter((_, i) => kinds[i] === kind);
    const curves = own.map((text): Curve => ({ steps: places, values: places.map((place) => accuracyAfter(text, place)) })); // biome-ignore format: one line
    return meanLine(`${kind} (${counted(own.length, "text")})`, curves);
  });
  return {
    kind: "lines",
    name: "right-by-layer",
    title: "Tokens already right, by layers that have run",
    caption: `The likeliest token through the logit lens is the one that follows. ${meanCaption(texts.length, "text")}`,
    x: { title: "layers that have run", whole: true },
    y: { title: "share of tokens", range: [0, 1] },
    lines: [
      ...lines,
      level("the whole model, all texts", mean(texts.map((text) => accuracyAfter(text, places.at(-1)!)))),
      level("each text's commonest token", mean(texts.map(guessing))),
    ],
  }; // biome-ignore format: a line of the figure a line
}

function exitsFigure(texts: readonly LensValues[]): LineFigure {
  const layers = texts[0]!.likeliest.length - 1;
  const exits = THRESHOLDS.map((threshold) => {
    const own = texts.map((text) => exitAt(text, threshold));
    return { saved: mean(own.map(({ saved }) => saved)), accuracy: mean(own.map(({ accuracy }) => accuracy)) };
  }).sort((a, b) => a.saved - b.saved);
  const places = Array.from({ length: layers }, (_, i) => layers - i);
  const saved = places.map((place) => 1 - place / layers);
  const after = (place: number) => mean(texts.map((text) => accuracyAfter(text, place)));
  const level = (name: string, value: number) => levelLine(name, [0, 1], value);
  return {
    kind: "lines",
    name: "layers-saved",
    title: "Accuracy against layers saved",
    caption: `Mean of ${counted(texts.length, "text")}. Thresholds from ${THRESHOLDS[0]} to ${THRESHOLDS.at(-2)} and none. The reading at every layer is not counted.`,
    x: { title: "share of the layers saved", range: [0, 1] },
    y: { title: "share of tokens that are right", range: [0, 1] },
    lines: [
      { name: "exit by confidence", x: exits.map((e) => e.saved), y: exits.map((e) => e.accuracy), points: true },
      { name: "all tokens after one number of layers", x: saved, y: places.map(after) },
      level("the whole model", after(layers)),
      level("each text's commonest token", mean(texts.map(guessing))),
    ],
  }; // biome-ignore format: a line of the figure a line
}

const LABEL = "texts";

/** Tokens that are right before the last layer, and the layers that a confident exit saves. */
export const earlyExit: Experiment<typeof parameters> = {
  name: "early-exit",
  title: "Tokens that are right before the last layer",
  description:
    "Every token of short texts of prose and code is read after every layer through the logit lens: the share that is already right, " +
    "and the layers saved where the model is left as soon as it is confident.",
  source: `${SUN}; ${JIN}`,
  trials: "Nothing was tried before the thresholds were written, and none was changed.",
  parameters,
  presets: { quick: {}, full: { tokens: 130 } },
  claims,
  extent: "tokens",
  stages: ({ texts }) => [{ label: LABEL, work: texts.length }],
  async run({ model, texts: numbers, tokens }, { measure }) {
    const plans = numbers.map((number): MeasurementPlan<typeof lensValues> => {
      const { text } = PASSAGES[number]!;
      return {
        name: "lens",
        label: LABEL,
        model,
        settings: { text, tokens, revision: 1 },
        values: lensValues,
        measure: (loaded, means) => lensReadings(loaded, { text, tokens }, means),
      };
    });
    const texts = await measure(plans);
    const kinds = numbers.map((number) => PASSAGES[number]!.kind);
    return { claims: judge(texts), figures: [layersFigure(texts, kinds), exitsFigure(texts)] };
  },
}; // biome-ignore format: an argument a line
