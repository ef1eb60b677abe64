import type { EvaluatedPoint } from "../../../../backend/common/api/evaluations.ts";
import { MEASURE_AXES, type TradeoffPoint, tradeoffs } from "../../../../backend/common/evaluation/figures.ts";
import { paretoFront } from "../../../../backend/common/evaluation/tradeoffs.ts";
import { plotlyWhiskers } from "../../../../backend/common/figures/plotly.ts";
import { counted } from "../../../../backend/common/text.ts";
import type { EvaluationCost, EvaluationMeasure } from "../../../../backend/common/words.ts";
import { lineColour } from "../../colours.ts";
import type { Table } from "../../components/card/files.ts";

/** Names a policy at a budget, over tasks and lengths. */
export function pointKey({ label, budget }: Pick<EvaluatedPoint, "label" | "budget">): string {
  return budget === null ? label : `${label} ${budget}`;
}

/** The fault of budgets; undefined where they will do. */
export function budgetsProblem(budgets: readonly number[] | undefined): string | undefined {
  if (budgets === undefined || budgets.length === 0) return "Give shares such as 0.5, 0.25, or tokens such as 256.";
  const odd = budgets.find((budget) => !(budget > 0 && (budget < 1 || (Number.isInteger(budget) && budget >= 2))));
  return odd === undefined ? undefined : `${odd} is neither a share below 1 nor a number of tokens from 2 on.`;
}

/** The fault of lengths of prompts; undefined where they will do. @param context most tokens of the model */
export function sizesProblem(lengths: readonly number[] | undefined, context: number): string | undefined {
  if (lengths === undefined || lengths.length === 0) return "Give lengths in tokens, such as 512, 2048.";
  const odd = lengths.find((length) => !Number.isInteger(length) || length < 32 || length > context);
  return odd === undefined ? undefined : `${odd} is not from 32 to ${counted(context, "token")}.`;
}

const AXES: Readonly<Record<EvaluationCost, string>> = {
  bytes: "keys and values (share of full attention's bytes)",
  prefill: "until the prompt is read (ms)",
  decode: "of a new token (ms)",
};

/** Quality against a cost, a line a policy with 95 % intervals; the front is dashed, and the chosen point ringed. */
export function tradeoffPlot(
  points: readonly EvaluatedPoint[],
  { cost, measure, chosen }: { cost: EvaluationCost; measure: EvaluationMeasure; chosen: string },
) {
  const all = tradeoffs(points, cost, measure);
  const front = paretoFront(all);
  const labels = [...new Set(all.map(({ label }) => label))];
  const hover = `%{text}<br>${cost === "bytes" ? "%{x:.1%} of the bytes" : "%{x:.1f} ms"}, ${measure} %{y:.2f}<extra></extra>`;
  const trace = (label: string, i: number) => {
    const own = all.filter((point) => point.label === label).toSorted((a, b) => a.cost - b.cost);
    const ringed = (point: TradeoffPoint): boolean => pointKey(point) === chosen;
    const values = own.map(({ value }) => value);
    const ranges = { low: own.map(({ low }) => low), high: own.map(({ high }) => high) };
    return {
      type: "scatter",
      mode: "lines+markers",
      name: label,
      x: own.map((point) => point.cost),
      y: values,
      error_y: plotlyWhiskers(values, ranges, lineColour(i)),
      text: own.map(pointKey),
      customdata: own.map(pointKey),
      line: { color: lineColour(i), width: 1.5 },
      marker: {
        size: own.map((point) => (ringed(point) ? 15 : 9)),
        symbol: own.map((point) => (ringed(point) ? "circle-open-dot" : label === "full" ? "star" : "circle")),
      },
      hovertemplate: hover,
    };
  };
  return {
    data: [
      ...labels.map(trace),
      {
        type: "scatter",
        mode: "lines",
        name: "front",
        x: front.map((point) => point.cost),
        y: front.map(({ value }) => value),
        line: { color: lineColour(6), width: 1, dash: "dash" },
        hoverinfo: "skip",
      },
    ],
    layout: {
      xaxis: { title: { text: AXES[cost] }, rangemode: "tozero", ...(cost === "bytes" ? { tickformat: ".0%" } : {}) },
      yaxis: {
        title: { text: MEASURE_AXES[measure] },
        ...(measure === "score" ? { range: [-0.05, 1.05] } : { rangemode: "tozero" }),
      },
      hovermode: "closest",
    },
  };
}

/** All points as a table. */
export function pointRows(points: readonly EvaluatedPoint[]): Table {
  return {
    columns: [
      "policy",
      "budget",
      "task",
      "length",
      "score",
      "chance",
      "loss",
      "kept",
      "bytes",
      "bytes_full",
      "prefill_ms",
      "token_ms",
    ],
    rows: points.map((point) => [
      ...[point.label, point.budget ?? "", point.task, point.length],
      ...[point.score.value, point.chance, point.loss.value, point.kept ?? ""],
      ...[point.bytes, point.bytesFull, point.prefillMs, point.decodeMsPerToken ?? ""],
    ]),
  };
}
