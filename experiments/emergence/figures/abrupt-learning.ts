import type { LineFigure } from "../../../backend/common/figures/figure.ts";
import { counted } from "../../../backend/common/text.ts";
import type { TrainedRun } from "../../base.ts";
import { type Curve, levelLine, meanCaption, meanLine, median, rise } from "../../curves.ts";
import type { ProgressMeasures } from "../label-attention.ts";
import type { LabelSizes, LogitFit } from "../nested-logits.ts";

/** The curves by which a seed of the main setting is judged. */
export interface Transition {
  /** In-context accuracy. */
  readonly accuracy: Curve;
  /** In-context loss, and the two models laid over it. */
  readonly loss: Curve;
  readonly nested: LogitFit;
  readonly single: LogitFit;
  /** Attention of labels to the items before them, best head of the first layer. */
  readonly itemLabel: Curve;
  /** Attention of the query to the right labels, best head of the second layer. */
  readonly queryLabel: Curve;
}

/** Final accuracies at one value of a sweep, means over its seeds. */
export interface SettingOutcome {
  readonly value: number;
  readonly inContext: number;
  readonly inWeights: number;
  /** Accuracy of guessing among the labels of a context. */
  readonly guess: number;
}

/** The three sweeps, each ascending by value. */
export interface Sweeps {
  readonly K: readonly SettingOutcome[];
  readonly B: readonly SettingOutcome[];
  readonly alpha: readonly SettingOutcome[];
}

/** Accuracy of guessing among the labels of a context, which has N / B classes, or N where B is 0 and an evaluation asks for one of them. */
export function guessing({ B, N }: Pick<LabelSizes, "B" | "N">): number {
  return Math.max(B, 1) / N;
}

/** Accuracies of the main setting over training, with both levels of guessing. */
export function accuracyFigure(runs: readonly TrainedRun[], { L, B, N }: LabelSizes): LineFigure {
  const curves = (name: string) => runs.map((run) => run.curves.get(`${name}.accuracy`)!);
  const { steps } = curves("in-context")[0]!;
  const level = (name: string, value: number) => levelLine(name, steps, value);
  return {
    kind: "lines",
    name: "accuracies",
    title: "Accuracies over training",
    caption: meanCaption(runs.length),
    x: { title: "training step", log: true },
    y: { title: "accuracy", range: [0, 1] },
    lines: [
      meanLine("in context (new classes)", curves("in-context")),
      meanLine("in weights (class absent from the context)", curves("in-weights")),
      meanLine("labels swapped, by the context", curves("swapped")),
      level("guessing among the context's items", guessing({ B, N })),
      level("guessing among all labels", 1 / L),
    ],
  };
}

/** The attention that the circuit is made of, beside the accuracy. @param guess accuracy of guessing among the context's items */
export function progressFigure(
  measures: readonly ProgressMeasures[],
  seeds: readonly Transition[],
  guess: number,
): LineFigure {
  const { chance } = measures[0]!;
  const halves = seeds.flatMap(({ accuracy }) => rise(accuracy, guess).half ?? []);
  const { steps } = measures[0]!.itemLabel;
  const level = (name: string, value: number) => levelLine(name, steps, value);
  return {
    kind: "lines",
    name: "progress-measures",
    title: "Attention that the in-context circuit is made of, before the transition",
    caption: `On sequences of new classes, at checkpoints. Dashed: what even attention gives. ${meanCaption(seeds.length)}`,
    x: { title: "training step", log: true },
    y: { title: "accuracy or attention", range: [0, 1] },
    lines: [
      meanLine("in-context accuracy", seeds.map(({ accuracy }) => accuracy)),
      meanLine("layer 0: label to the item before it", measures.map((m) => m.itemLabel)),
      meanLine("layer 1: query to the right labels", measures.map((m) => m.queryLabel)),
      meanLine("layer 1: query to items of its class", measures.map((m) => m.queryItem)),
      level("even attention, layer 0", chance.itemLabel),
      level("even attention, layer 1", chance.queryLabel),
    ],
    marks: halves.length > 0 ? [{ x: median(halves), label: "half of the accuracy's rise" }] : [],
  }; // biome-ignore format: a line of the figure a line
}

/** The in-context loss beside the two models that are laid over each seed's. */
export function logitsFigure(seeds: readonly Transition[], { L, N, B }: LabelSizes): LineFigure {
  const { steps } = seeds[0]!.loss;
  return {
    kind: "lines",
    name: "nested-logits",
    title: "Three nested logits against one, by gradient descent",
    caption: `Loss on sequences of new classes; each seed's fits have two numbers, the logits' beginning and their rate. ${meanCaption(seeds.length)}`,
    x: { title: "training step", log: true },
    y: { title: "loss, nats" },
    lines: [
      meanLine("measured", seeds.map(({ loss }) => loss)),
      meanLine("three nested logits", seeds.map(({ nested }) => nested.curve)),
      meanLine("one logit", seeds.map(({ single }) => single.curve)),
      levelLine("guessing among all labels", steps, Math.log(L)),
      levelLine("guessing among the context's labels", steps, Math.log(1 / guessing({ B, N }))),
      levelLine("the right label for sure", steps, 0),
    ],
  }; // biome-ignore format: a line of the figure a line
}

/** Final accuracies over one sweep. @param runs seeds of a point */
export function sweepFigure(
  name: keyof Sweeps,
  title: string,
  points: readonly SettingOutcome[],
  runs: number,
): LineFigure {
  const x = points.map(({ value }) => value);
  return {
    kind: "lines",
    name: `trade-off-${name.toLowerCase()}`,
    title,
    caption: `Final accuracies, mean of ${counted(runs, "seed")} (of all seeds in the main setting).`,
    x: { title: name === "alpha" ? "α" : name, ...(name === "K" ? { log: true } : { whole: name === "B" }) },
    y: { title: "final accuracy", range: [0, 1] },
    lines: [
      { name: "in context", x, y: points.map((p) => p.inContext), points: true },
      { name: "in weights", x, y: points.map((p) => p.inWeights), points: true },
      { name: "guessing among the context's items", x, y: points.map((p) => p.guess), dashed: true },
    ],
  };
}
