import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { LONGEST_EXPRESSION, patternScore } from "../../backend/common/texts/head-scores.ts";
import { checkRows } from "../../backend/models/tokens.ts";
import { meanMetric, type Probe, refuse, summarise } from "../base.ts";
import { patternRule, type RowMask, rowMask, sharesAlong } from "./along.ts";
import { anyRows, anyRowsParameters } from "./any-rows.ts";

const parameters = anyRowsParameters.extend({
  expression: z
    .string()
    .min(1)
    .max(LONGEST_EXPRESSION)
    .optional()
    .describe(
      'keys of a query, as a condition on query, key, length and token[position], such as "key == query - 1" or "token[key - 1] == token[query]"',
    ),
  pairs: z
    .array(z.array(z.int().min(0)).length(2))
    .min(1)
    .optional()
    .describe("pairs [query, key] instead, positions from 0"),
});

/** Attention along a pattern of one's own. */
export const pattern: Probe<typeof parameters> = {
  name: "pattern",
  title: "Heads of a pattern of your own",
  description:
    "Mean share of a query's attention that goes to the keys that a pattern gives it, over the queries that it gives any. The pattern is an expression, " +
    "such as key == query - 1, or a list of query-key pairs; the rows are your own (a text or a tokens file, of any lengths) or BOS r r.",
  source: "TransformerLens's detect_head",
  parameters,
  meanings: {
    pattern: {
      meaning: patternScore("pattern").meaning,
      range: [0, 1],
    },
  },
  async run(model, params, context) {
    refuse(context, "pattern", "cases");
    const rule = patternRule(params);
    const { length, samples, ...own } = { ...params, ...anyRows.adapt(model, params, context) };
    const rows = anyRows.rows(model, params, context);
    checkRows(rows, "", { config: model.config });
    const masks = rows.map((row) => rowMask(row, rule, params.pairs));
    const counted = rows.flatMap((row, r) => (masks[r]!.queries > 0 ? [{ row, masks: [masks[r]!] }] : []));
    if (counted.length === 0)
      throw new HeadscopeError("input", "the pattern gives no query of these rows a key that it may attend to", {
        remedy: "a key stands at its query or before it: change the pattern, or give longer rows",
      });
    const tables: number[][][] = [];
    for (const one of counted) {
      const onLayer = (layer: number): void => {
        context.signal?.throwIfAborted();
        const done = tables.length * model.config.n_layers + layer;
        context.progress?.(done, counted.length * model.config.n_layers, "pattern, rows x layers");
      };
      tables.push((await sharesAlong(model, { ...one, onLayer }))[0]!);
    }
    const mean = (value: (mask: RowMask) => number): number =>
      counted.reduce((sum, one) => sum + value(one.masks[0]!), 0) / counted.length;
    const metric = { ...meanMetric(tables), chance: mean(({ even }) => even) };
    return {
      params: { ...own, ...(context.tokens ? {} : { length }), samples },
      tokens: rows,
      metrics: { pattern: metric },
      summary: { ...summarise(metric.values), rows: counted.length, queries: mean(({ queries }) => queries) },
      ...(counted.length < rows.length
        ? { notes: [`${rows.length - counted.length} of ${rows.length} rows have no query with a key of the pattern`] }
        : {}),
    };
  },
};
