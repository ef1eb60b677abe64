import type { EvaluatedPoint } from "../api/evaluations.ts";
import type { LineFigure } from "../figures/figure.ts";
import { counted } from "../text.ts";
import { EVALUATION_COSTS, type EvaluationCost } from "../words.ts";
import { costOf, paretoFront } from "./tradeoffs.ts";

/** Names of costs on an axis. */
const AXES: Readonly<Record<EvaluationCost, string>> = {
  bytes: "keys and values, share of full attention's bytes",
  prefill: "time until the prompt is read, ms",
  decode: "time of a new token, ms",
};

/** Quality of a policy at a budget against what it costs, means over tasks. */
export interface TradeoffPoint {
  readonly label: string;
  readonly budget: number | null;
  readonly cost: number;
  readonly quality: number;
}

/**
 * Points of one length, each the mean over its tasks.
 * @param points of one length; those whose cost was not measured are left out
 */
export function tradeoffs(points: readonly EvaluatedPoint[], cost: EvaluationCost): TradeoffPoint[] {
  const keyOf = ({ label, budget, policies }: EvaluatedPoint): string => JSON.stringify([label, budget, policies]);
  return [...new Set(points.map(keyOf))].flatMap((key) => {
    const own = points.filter((point) => keyOf(point) === key);
    const measured = own.map((point) => costOf(point, cost)).filter(Number.isFinite);
    const { label, budget } = own[0]!;
    const quality = mean(own.map(({ score }) => score.value));
    return measured.length === 0 ? [] : [{ label, budget, cost: mean(measured), quality }];
  });
}

/** Figures of quality against each cost, for each length: a line a policy, and the front of what no other is better than. */
export function evaluationFigures(points: readonly EvaluatedPoint[]): LineFigure[] {
  const lengths = [...new Set(points.map(({ length }) => length))];
  return lengths.flatMap((length) => {
    const own = points.filter((point) => point.length === length);
    return EVALUATION_COSTS.flatMap((cost) => tradeoffFigure(own, length, cost) ?? []);
  });
}

function tradeoffFigure(
  points: readonly EvaluatedPoint[],
  length: number,
  cost: EvaluationCost,
): LineFigure | undefined {
  const all = tradeoffs(points, cost);
  if (all.length === 0) return undefined;
  const tasks = [...new Set(points.map(({ task }) => task))];
  const labels = [...new Set(all.map(({ label }) => label))];
  const front = paretoFront(all);
  return {
    kind: "lines",
    name: `${cost}-${length}`,
    title: `Quality against ${cost === "bytes" ? "memory" : `time: ${cost}`}, ${counted(length, "token")}`,
    caption: `Mean score over ${tasks.join(", ")}; a line a policy, its points the budgets. No point is better and cheaper than the dashed front.`,
    x: { title: AXES[cost] },
    y: { title: "score", range: [0, 1] },
    lines: [
      ...labels.map((label) => {
        const own = all.filter((point) => point.label === label).toSorted((a, b) => a.cost - b.cost);
        return { name: label, x: own.map((point) => point.cost), y: own.map(({ quality }) => quality), points: true };
      }),
      { name: "front", x: front.map((point) => point.cost), y: front.map(({ quality }) => quality), dashed: true },
    ],
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
