import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { counted } from "../../backend/common/text.ts";
import { type Curve, levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { accuracy, chanceOf, type SeedValues, type TextValues } from "./judge.ts";
import { layerSpans } from "./measure.ts";
import { STEP_NAMES, STEPS } from "./steps.ts";

const NUMBERS = STEP_NAMES.map((_, i) => i + 1);

/** Accuracy with each step cut, by span of layers, with ceiling and chance. @param spans beside all layers */
export function circuitFigure(seeds: readonly SeedValues[], spans: number): LineFigure {
  const layers = seeds[0]![0]!.measures.copying.length;
  const curve = (of: (seed: SeedValues, step: string) => number) => seeds.map((seed): Curve => ({ steps: NUMBERS, values: STEP_NAMES.map((step) => of(seed, step)) })); // biome-ignore format: one line
  const level = (name: string, value: number) => levelLine(name, NUMBERS, value);
  const all = (of: (seed: SeedValues) => number) => mean(seeds.map(of));
  const cuts = layerSpans(layers, spans).map(([from, to], s) => ({
    ...meanLine(
      s === 0 ? "cut in all layers" : `cut in layers ${from} to ${to - 1}`,
      curve((seed, step) => accuracy(seed, (values) => values.steps[step]![s]!)),
    ),
    points: true,
  }));
  return {
    kind: "lines",
    name: "disconnections",
    title: "Accuracy with a step of the circuit disconnected",
    caption:
      `${meanCaption(seeds.length)} Each seed has ${counted(seeds[0]!.length, "set")} of texts. ` +
      `Steps: ${STEP_NAMES.map((step, i) => `${i + 1} ${STEPS[step].title}`).join(", ")}.`,
    x: { title: "step that is cut", whole: true },
    y: { title: "right label is the likeliest token", range: [0, 1] },
    lines: [
      ...cuts,
      { ...meanLine("as many random edges, all layers", curve((seed, step) => accuracy(seed, (v) => v.random[step]!))), points: true },
      level("nothing cut", all((seed) => accuracy(seed, ({ clean }) => clean))),
      level("all steps cut in all layers", all((seed) => accuracy(seed, ({ together }) => together))),
      level("other edges of the query's forerunner, as many as retrieval has", all((seed) => accuracy(seed, (v) => v.siblings))),
      level("no demonstrations", all((seed) => accuracy(seed, ({ zeroShot }) => zeroShot))),
      level("guessing among the labels", all(chanceOf)),
    ],
  }; // biome-ignore format: a line of the figure a line
}

/** Summary of texts at forerunners, by layer, with the values of unrelated representations. */
export function summaryFigure(seeds: readonly SeedValues[]): LineFigure {
  const places = seeds[0]![0]!.measures.alignment.map((_, place) => place);
  const curves = (of: (values: TextValues) => readonly number[]) =>
    seeds.map((seed): Curve => ({ steps: places, values: places.map((p) => mean(seed.map((values) => of(values)[p]!))) }));
  const level = (name: string, of: (values: TextValues) => number) => ({
    name, x: places, y: places.map(() => mean(seeds.flatMap((seed) => seed.map(of)))), dashed: true,
  });
  return {
    kind: "lines",
    name: "summary",
    title: "Texts at their forerunner tokens",
    caption: `Nearest neighbours of the forerunners' streams, an eighth of the items; 1 would be the reference itself, or labels alone. ${meanCaption(seeds.length)}`,
    x: { title: "stream before layer", whole: true },
    y: { title: "share of the neighbours", range: [0, 1] },
    lines: [
      meanLine("shared with the texts' mean embeddings", curves((v) => v.measures.alignment)),
      meanLine("of the same label", curves((v) => v.measures.labelShare)),
      level("unrelated representations", (v) => v.measures.chance.alignment),
      level("same label by chance", (v) => v.measures.chance.labelShare),
    ],
  };
} // biome-ignore format: a line of the figure a line

/** Heads that count, by layer, with the number that there are. */
export function headsFigure(seeds: readonly SeedValues[]): LineFigure {
  const layers = seeds[0]![0]!.measures.copying.map((_, layer) => layer);
  const heads = seeds[0]![0]!.measures.copying[0]!.length;
  const curves = (of: (values: TextValues) => number[][]) =>
    seeds.map((seed): Curve => ({
      steps: layers,
      values: layers.map((layer) => mean(seed.map((v) => of(v)[layer]!.reduce((sum, share) => sum + share, 0)))),
    }));
  return {
    kind: "lines",
    name: "heads",
    title: "Heads of the circuit, by layer",
    caption: `Heads that count in a prompt. A wrong label in the right one's place says how many copy by chance. ${meanCaption(seeds.length)}`,
    x: { title: "layer", whole: true },
    y: { title: "heads", range: [0, heads] },
    lines: [
      meanLine("forerunner heads: label to its forerunner", curves((v) => v.measures.forerunner)),
      meanLine("label-copy heads: query to the right labels", curves((v) => v.measures.copying)),
      meanLine("the same with a wrong label", curves((v) => v.measures.wrong)),
    ],
  };
} // biome-ignore format: a line of the figure a line
