import type { Model } from "../../backend/models/model.ts";
import type { PatternSum } from "../../backend/models/transformer/attention.ts";
import { tf } from "../../backend/runtime/tf.ts";
import {
  evenAttention,
  meanMetric,
  type PatternSums,
  type ProbeContext,
  type ProbeResult,
  summarise,
} from "../base.ts";
import { repeated, repeatedParameters } from "./repeated.ts";

/** Parameters of probes that score any rows: those of the rows that are made where none are given. */
export const anyRowsParameters = repeatedParameters;
type Params = ReturnType<typeof anyRowsParameters.parse>;

/** The rows of probes on any text: those given, of any lengths, else BOS r r, so that they share a pass with induction. */
export const anyRows = {
  anyLengths: true,
  adapt(model: Pick<Model, "config">, params: Params, context: ProbeContext): Params {
    // Of rows that are given there is no length to record.
    return context.tokens ? ({ samples: context.tokens.length } as Params) : repeated.adapt(model, params, context);
  },
  rows(model: Model, params: Params, context: ProbeContext): number[][] {
    return context.tokens ?? repeated.rows(model, params, context);
  },
} satisfies Pick<PatternSums<typeof anyRowsParameters>, "anyLengths" | "adapt" | "rows">;

/** Sum over the queries of attention to one key each, where two numbers of their positions are equal. */
export function attentionWhere(name: string, equal: (query: Tensor, key: Tensor) => [Tensor, Tensor]): PatternSum {
  return {
    kind: "sum",
    name,
    weight: (query, key) => tf.relu(tf.sub(1, tf.abs(tf.sub(...equal(query, key))))), // 1 at 0, for whole numbers
  };
}
type Tensor = ReturnType<typeof tf.sub>;

/**
 * A metric that is a mean over all queries of a row, from its sum over them.
 * @param sums [rows][layers][heads]
 * @returns with the value of a head that attends evenly
 */
export function meanOverQueries(
  name: string,
  sums: readonly number[][][],
  rows: readonly (readonly number[])[],
  even: (length: number) => number = (length) => evenAttention(0, length - 1),
): Pick<ProbeResult, "metrics" | "summary"> {
  const tables = sums.map((table, r) => table.map((row) => row.map((sum) => sum / rows[r]!.length)));
  const chance = rows.reduce((sum, row) => sum + even(row.length), 0) / rows.length;
  const metric = { ...meanMetric(tables), chance };
  return { metrics: { [name]: metric }, summary: summarise(metric.values) };
}
