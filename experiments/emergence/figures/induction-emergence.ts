import type { HeatmapFigure, LineFigure } from "../../../backend/common/figures/figure.ts";
import { headMetricName } from "../../../backend/common/heads/head-metric.ts";
import type { TrainedRun } from "../../base.ts";
import { type Curve, crossing, finalValue, mean, meanCaption, meanLine, median } from "../../curves.ts";

/** The curves by which a seed is judged. */
export interface Emergence {
  /** In-context accuracy of two layers. */
  readonly accuracy: Curve;
  /** Best induction score of the second layer. */
  readonly induction: Curve;
  /** Best previous-token score of the first layer. */
  readonly previous: Curve;
  /** Layer of the head with the best final score of each kind. */
  readonly layers: { readonly induction: number; readonly previous: number };
  /** In-context accuracy of one layer. */
  readonly oneLayer: Curve;
}

/** The curves of a probe's heads in one layer. */
export function headCurves({ curves }: TrainedRun, probe: string, layer: number, heads: number): Curve[] {
  return Array.from({ length: heads }, (_, head) => curves.get(headMetricName(probe, probe, layer, head))!);
}

/** Accuracy and best scores over training, mean of the seeds. @param chance accuracy of guessing */
export function emergenceFigure(seeds: readonly Emergence[], chance: number): LineFigure {
  const halfOf = (of: (seed: Emergence) => Curve) => seeds.map(of).flatMap((c) => crossing(c, finalValue(c) / 2) ?? []);
  const marks = [
    { label: "previous-token", steps: halfOf((s) => s.previous) },
    { label: "induction", steps: halfOf((s) => s.induction) },
    { label: "accuracy", steps: halfOf((s) => s.accuracy) },
  ].flatMap(({ label, steps }) => (steps.length > 0 ? [{ label, x: median(steps) }] : []));
  const { steps } = seeds[0]!.accuracy;
  return {
    kind: "lines",
    name: "emergence",
    title: "In-context accuracy and head scores over training",
    caption: `${meanCaption(seeds.length)} Marks: median step at which half of the final value is passed.`,
    x: { title: "training step", log: true },
    y: { title: "accuracy or score", range: [0, 1] },
    lines: [
      meanLine("in-context accuracy", seeds.map((s) => s.accuracy)),
      meanLine("best induction score, layer 1", seeds.map((s) => s.induction)),
      meanLine("best previous-token score, layer 0", seeds.map((s) => s.previous)),
      { ...meanLine("in-context accuracy of one layer", seeds.map((s) => s.oneLayer)), dashed: true },
      { name: "chance", x: [...steps], y: steps.map(() => chance), dashed: true },
    ],
    marks,
  }; // biome-ignore format: a line of the figure a line
}

/** When each curve passes half of its final value, by seed. */
export function orderFigure(runs: readonly TrainedRun[], seeds: readonly Emergence[]): LineFigure {
  const line = (name: string, of: (seed: Emergence) => Curve): LineFigure["lines"][number] => ({
    name,
    x: runs.map(({ seed }) => seed),
    y: seeds.map((seed) => crossing(of(seed), finalValue(of(seed)) / 2) ?? null),
    points: true,
    joined: false,
  });
  return {
    kind: "lines",
    name: "order",
    title: "Step at which half of the final value is passed, by seed",
    x: { title: "seed", whole: true },
    y: { title: "training step" },
    lines: [
      line("in-context accuracy", (s) => s.accuracy),
      line("best induction score, layer 1", (s) => s.induction),
      line("best previous-token score, layer 0", (s) => s.previous),
    ],
  };
}

/** Share of the loss of guessing by which another loss may differ and still be called the same. */
const SAME = 0.05;

/** The course of the loss on the first copy, in words that follow from its curves. @param chance loss of guessing */
export function firstCopyCaption(curves: readonly Curve[], chance: number): string {
  const end = mean(curves.map(finalValue));
  const begin = mean(curves.map(({ values }) => values[0]!));
  const [from, to, guess] = [begin, end, chance].map((nats) => nats.toFixed(2));
  const why = "The first copy is random and not trained on: nothing can predict it better than guessing";
  if (end > (1 + SAME) * chance)
    return `${why} (${guess} nats), and its loss goes from ${from} to ${to}: a model that expects repetitions is wrong there.`;
  if (end < (1 - SAME) * chance)
    return `The first copy is random, and guessing costs ${guess} nats; its loss goes from ${from} to ${to}, below that.`;
  return `${why}, and its loss ends there: at ${to} nats, guessing being ${guess}.`;
}

/** Loss where the context decides and where nothing does. @param chance loss of guessing */
export function lossFigure(runs: readonly TrainedRun[], chance: number): LineFigure {
  const curves = (name: string) => runs.map((run) => run.curves.get(name)!);
  const { steps } = curves("in-context.loss")[0]!;
  return {
    kind: "lines",
    name: "loss",
    title: "Loss on the repetition and on the first copy",
    caption: `${firstCopyCaption(curves("first-copy.loss"), chance)} ${meanCaption(runs.length)}`,
    x: { title: "training step", log: true },
    y: { title: "loss (nats)" },
    lines: [
      meanLine("repetition", curves("in-context.loss")),
      meanLine("first copy", curves("first-copy.loss")),
      { name: "guessing", x: [...steps], y: steps.map(() => chance), dashed: true },
    ],
  };
}

/** Final scores of every head of two layers, by seed. @param heads of a layer */
export function headsFigure(runs: readonly TrainedRun[], heads: number): HeatmapFigure {
  const probes = ["previous-token", "induction"];
  const columns = runs.flatMap((run) => probes.map((probe) => ({ run, probe })));
  const cells = [0, 1].flatMap((layer) => Array.from({ length: heads }, (_, head) => ({ layer, head })));
  return {
    kind: "heatmap",
    name: "heads",
    title: "Scores of every head at the end",
    x: { title: "seed and score", labels: columns.map(({ run, probe }) => `${run.seed} ${probe}`) },
    y: { title: "head (layer.head)", labels: cells.map(({ layer, head }) => `${layer}.${head}`) },
    z: cells.map(({ layer, head }) =>
      columns.map(({ run, probe }) => finalValue(headCurves(run, probe, layer, heads)[head]!)),
    ),
    scale: { title: "score", range: [0, 1] },
  };
}
