import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { allFinite, notFinite } from "../../backend/hooks/finite.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import { checkRows } from "../../backend/models/tokens.ts";
import { blockHook } from "../../backend/models/transformer/hook-points.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { pause } from "../../backend/runtime/turn.ts";
import { meanMetric, type Probe, refuse, summarise } from "../base.ts";
import { anyRows, anyRowsParameters } from "./any-rows.ts";
import { LONGEST_EXPRESSION, type PatternRule, readExpression } from "./expression.ts";

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

/** Numbers of one layer's patterns that are held at a time: 1 GB. */
const MOST_ENTRIES = 2 ** 28;

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
      meaning:
        "Share of a query's attention that goes to the keys of the pattern, mean over the queries that have any.",
      range: [0, 1],
    },
  },
  async run(model, params, context) {
    refuse(context, "pattern", "cases");
    const rule = ruleOf(params);
    const { length, samples, ...own } = { ...params, ...anyRows.adapt(model, params, context) };
    const rows = anyRows.rows(model, params, context);
    checkRows(rows, "", { config: model.config });
    const masks = rows.map((row) => maskOf(row, rule, params.pairs));
    const counted = rows.flatMap((row, r) => (masks[r]!.queries > 0 ? [{ row, ...masks[r]! }] : []));
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
      tables.push(sharesOf(model, one, onLayer));
      await pause();
    }
    const mean = (value: (one: (typeof counted)[number]) => number): number =>
      counted.reduce((sum, one) => sum + value(one), 0) / counted.length;
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

/** The pattern as a rule. @throws HeadscopeError (usage) unless there is one, and one only */
function ruleOf({ expression, pairs }: z.output<typeof parameters>): PatternRule {
  if ((expression === undefined) === (pairs === undefined))
    throw new HeadscopeError("usage", expression === undefined ? "no pattern is given" : "expression and pairs cannot go together", {
      remedy: 'give one: --param expression="key == query - 1", or pairs',
      field: ["expression", "pairs"],
    }); // biome-ignore format: one line
  if (expression !== undefined) return readExpression(expression);
  const odd = pairs!.find(([query, key]) => key! > query!);
  if (odd)
    throw new HeadscopeError("usage", `query ${odd[0]} never attends to key ${odd[1]}, which comes after it`, {
      remedy: "give pairs [query, key] with the key at the query or before it",
      field: "pairs",
    });
  const named = new Set(pairs!.map(([query, key]) => `${query},${key}`));
  return ({ query, key }) => named.has(`${query},${key}`);
}

/** A pattern on one row. */
interface RowMask {
  /** Weight of each entry: 1 / queries at the pattern's keys [query * key]. */
  readonly mask: Float32Array;
  /** Queries that have a key of the pattern. */
  readonly queries: number;
  /** Their mean share of attention where it is even. */
  readonly even: number;
}

/** @throws HeadscopeError (input) for pairs beyond the row */
function maskOf(row: readonly number[], rule: PatternRule, pairs: readonly number[][] = []): RowMask {
  const beyond = pairs.find(([query]) => query! >= row.length);
  if (beyond)
    throw new HeadscopeError("input", `a row has ${row.length} tokens, none at query ${beyond[0]} of the pairs`, {
      remedy: "give rows that have all of the pairs' positions",
    });
  const mask = new Float32Array(row.length ** 2);
  let [queries, even] = [0, 0];
  for (let query = 0; query < row.length; query++) {
    let keys = 0;
    for (let key = 0; key <= query; key++) {
      if (!rule({ query, key, row })) continue;
      mask[query * row.length + key] = 1;
      keys++;
    }
    if (keys > 0) queries++;
    even += keys / (query + 1);
  }
  return { mask: mask.map((entry) => entry / Math.max(1, queries)), queries, even: even / Math.max(1, queries) };
}

/** Each head's share along the pattern [layers][heads]; one layer's patterns are held at a time. */
function sharesOf(
  model: Model,
  { row, mask }: { row: readonly number[]; mask: Float32Array },
  onLayer: (layer: number) => void,
): number[][] {
  const { n_layers, n_heads: H } = model.config;
  const T = row.length;
  if (H * T * T > MOST_ENTRIES)
    throw new HeadscopeError("input", `the patterns of ${H} heads over ${T} tokens do not fit in memory`, {
      remedy: `give rows of at most ${Math.floor(Math.sqrt(MOST_ENTRIES / H))} tokens`,
    });
  const weights = tf.tensor2d(mask, [T * T, 1]);
  let resid: Tensor | undefined;
  try {
    return Array.from({ length: n_layers }, (_, layer) => {
      onLayer(layer);
      const name = blockHook(layer, "attn.hook_pattern");
      const input = resid ? { resid, startLayer: layer } : { tokens: [row] };
      const run = forward(model, { ...input, stopLayer: layer + 1, logitsAt: "none" }, { names: [name] });
      resid?.dispose();
      resid = run.resid;
      const along = tf.tidy(() => tf.matMul(tf.reshape(run.activations.get(name)!, [H, T * T]), weights));
      const shares = [...along.dataSync()];
      tf.dispose([along, ...run.activations.values()]);
      if (!allFinite(shares)) throw notFinite(model, "attention patterns", [row]);
      return shares;
    });
  } finally {
    tf.dispose(resid ? [weights, resid] : [weights]);
  }
}
