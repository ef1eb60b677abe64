import type { EvaluatedPoint } from "../api/evaluations.ts";
import type { LineFigure } from "../figures/figure.ts";
import { mean } from "../numerics/averages.ts";
import { counted } from "../text.ts";
import { EVALUATION_COSTS, type EvaluationCost, type EvaluationMeasure } from "../words.ts";
import { costOf, paretoFront } from "./tradeoffs.ts";

/** Names of costs on an axis. */
const AXES: Readonly<Record<EvaluationCost, string>> = {
  bytes: "keys and values, share of full attention's bytes",
  prefill: "time until the prompt is read, ms",
  decode: "time of a new token, ms",
};

/** Length of the axis of a cost, by its largest. */
const MARGIN = 1.05;

/** Names of measures on an axis. */
export const MEASURE_AXES: Readonly<Record<EvaluationMeasure, string>> = {
  score: "score",
  loss: "loss of the right answer, nats a token",
};

/** Quality of a policy at a budget against what it costs, means over tasks. */
export interface TradeoffPoint {
  readonly label: string;
  readonly budget: number | null;
  readonly cost: number;
  /** The measure, with its 95 % interval; null where one case can't tell. */
  readonly value: number;
  readonly low: number | null;
  readonly high: number | null;
  /** The higher, the better: a score, or a loss below 0. */
  readonly quality: number;
}

/**
 * Points of one length, each the mean over its tasks. Tasks are drawn apart, so that the distances from a task's mean to the ends of its
 * interval add up in squares (MOVER; Zou and Donner 2008).
 * @param points of one length; those whose cost was not measured are left out
 */
export function tradeoffs(
  points: readonly EvaluatedPoint[],
  cost: EvaluationCost,
  measure: EvaluationMeasure = "score",
): TradeoffPoint[] {
  const keyOf = ({ label, budget, policies }: EvaluatedPoint): string => JSON.stringify([label, budget, policies]);
  return [...new Set(points.map(keyOf))].flatMap((key) => {
    const own = points.filter((point) => keyOf(point) === key);
    const measured = own.map((point) => costOf(point, cost)).filter(Number.isFinite);
    if (measured.length === 0) return [];
    const { label, budget } = own[0]!;
    const all = own.map((point) => point[measure]);
    const value = mean(all.map((each) => each.value));
    const away = (end: "low" | "high"): number | null => {
      const squares = all.map((each) => (each[end] === null ? Number.NaN : (each[end] - each.value) ** 2));
      const distance = Math.sqrt(squares.reduce((a, b) => a + b, 0)) / all.length;
      return Number.isFinite(distance) ? distance : null;
    };
    const [below, above] = [away("low"), away("high")];
    return {
      ...{ label, budget, cost: mean(measured), value },
      low: below === null ? null : value - below,
      high: above === null ? null : value + above,
      quality: measure === "loss" ? -value : value,
    };
  });
}

/**
 * Figures of each length: the score against each cost, and the loss against memory; a line a policy, and the front of what no other is
 * better than.
 */
export function evaluationFigures(points: readonly EvaluatedPoint[]): LineFigure[] {
  const lengths = [...new Set(points.map(({ length }) => length))];
  const pairs: [EvaluationMeasure, EvaluationCost][] = [
    ["score", "bytes"],
    ["loss", "bytes"],
    ...EVALUATION_COSTS.filter((cost) => cost !== "bytes").map((cost) => ["score", cost] as [EvaluationMeasure, EvaluationCost]), // biome-ignore format: one line
  ];
  return lengths.flatMap((length) => {
    const own = points.filter((point) => point.length === length);
    return pairs.flatMap(([measure, cost]) => tradeoffFigure(own, length, { measure, cost }) ?? []);
  });
}

function tradeoffFigure(
  points: readonly EvaluatedPoint[],
  length: number,
  { measure, cost }: { measure: EvaluationMeasure; cost: EvaluationCost },
): LineFigure | undefined {
  const all = tradeoffs(points, cost, measure);
  if (all.length === 0) return undefined;
  const tasks = [...new Set(points.map(({ task }) => task))];
  const labels = [...new Set(all.map(({ label }) => label))];
  const front = paretoFront(all);
  const [name, range] = measure === "score" ? ["Quality", [0, 1] as [number, number]] : ["Loss", undefined];
  return {
    kind: "lines",
    name: `${measure === "score" ? "" : "loss-"}${cost}-${length}`,
    title: `${name} against ${cost === "bytes" ? "memory" : `time: ${cost}`}, ${counted(length, "token")}`,
    caption: `Mean ${measure} over ${tasks.join(", ")} with 95 % intervals; a line a policy, its points the budgets. No point is better and cheaper than the dashed front.`,
    x: { title: AXES[cost], range: [0, MARGIN * (Math.max(...all.map((point) => point.cost)) || 1)] },
    y: { title: MEASURE_AXES[measure], ...(range && { range }) },
    lines: [
      ...labels.map((label) => {
        const own = all.filter((point) => point.label === label).toSorted((a, b) => a.cost - b.cost);
        return {
          ...{ name: label, x: own.map((point) => point.cost), y: own.map(({ value }) => value), points: true },
          whiskers: { low: own.map(({ low }) => low), high: own.map(({ high }) => high) },
        };
      }),
      { name: "front", x: front.map((point) => point.cost), y: front.map(({ value }) => value), dashed: true },
    ],
  };
}
