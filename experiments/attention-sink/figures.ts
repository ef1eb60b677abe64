import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { levelLine, meanCaption, meanLine } from "../curves.ts";
import { ARM_TITLES, ARMS, type Arm, type SinkParams } from "./arms.ts";
import { CORPORA } from "./corpora.ts";
import type { SinkCurves } from "./measure.ts";

type Curves = Readonly<Record<Arm, readonly SinkCurves[]>>;

/** Mean importance of the first place for heads that attend evenly: the mean of 1 / (i + 1). */
function evenAttention({ context }: SinkParams): number {
  return Array.from({ length: context }, (_, i) => 1 / (i + 1)).reduce((a, b) => a + b) / context;
}

/** Attention to the sink's place over training, a line a setting. */
export function sinkFigure(curves: Curves, params: SinkParams): LineFigure {
  const { steps } = curves.base[0]!.strongest;
  return {
    kind: "lines",
    name: "sinks",
    title: "Attention to the fixed or first token, strongest head",
    caption: `${meanCaption(params.seeds.length)} Sigmoids without normalisation by their shares.`,
    x: { title: "training step", log: true },
    y: { title: "mean attention", range: [0, 1] },
    lines: [
      ...ARMS.map((arm) => meanLine(ARM_TITLES[arm], curves[arm].map(({ strongest }) => strongest))),
      levelLine("epsilon", steps, params.epsilon),
      levelLine("chance: even attention", steps, evenAttention(params)),
      levelLine("ceiling", steps, 1),
    ],
  }; // biome-ignore format: a line of the figure a line
}

/** Share of the heads that are sinks, the paper's metric, at the end of each setting. */
export function shareFigure(curves: Curves, params: SinkParams): LineFigure {
  const { steps } = curves.base[0]!.share;
  return {
    kind: "lines",
    name: "share",
    title: "Share of heads that are sinks",
    caption: `${meanCaption(params.seeds.length)} A head is a sink where its mean attention exceeds ${params.epsilon}. Chance is 0: even attention stays below that.`,
    x: { title: "training step", log: true },
    y: { title: "share of heads", range: [0, 1] },
    lines: [
      ...ARMS.map((arm) => meanLine(ARM_TITLES[arm], curves[arm].map(({ share }) => share))),
      levelLine("chance", steps, 0),
      levelLine("ceiling", steps, 1),
    ],
  }; // biome-ignore format: a line of the figure a line
}

/** Loss on new sequences over training. @param least of the runs' languages, in nats */
export function lossFigure(curves: Curves, params: SinkParams, least: number): LineFigure {
  const { steps } = curves.base[0]!.loss;
  const corpus = CORPORA[params.corpus];
  return {
    kind: "lines",
    name: "loss",
    title: "Loss on new sequences",
    caption: `${meanCaption(params.seeds.length)} ${corpus.least}`,
    x: { title: "training step", log: true },
    y: { title: "nats a token" },
    lines: [
      ...ARMS.map((arm) => meanLine(ARM_TITLES[arm], curves[arm].map(({ loss }) => loss))),
      levelLine("chance: uniform", steps, Math.log(corpus.symbols(params))),
      levelLine("ceiling: least loss", steps, least),
    ],
  }; // biome-ignore format: a line of the figure a line
}
