import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { allFinite, notFinite } from "../../backend/hooks/finite.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import { blockHook } from "../../backend/models/transformer/hook-points.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { pause, type Turn } from "../../backend/runtime/turn.ts";
import { type PatternRule, readExpression } from "./expression.ts";

/** A pattern as users give it: one of both. */
export interface PatternInput {
  readonly expression?: string | undefined;
  /** [query, key] each, positions from 0. */
  readonly pairs?: readonly (readonly number[])[] | undefined;
}

/** The pattern as a rule. @throws HeadscopeError (usage) unless there is one, and one only */
export function patternRule({ expression, pairs }: PatternInput): PatternRule {
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
export interface RowMask {
  /** Weight of each entry: 1 / queries at the pattern's keys [query * key]. */
  readonly mask: Float32Array;
  /** Queries that have a key of the pattern. */
  readonly queries: number;
  /** Their mean share of attention where it is even. */
  readonly even: number;
}

/**
 * The entries of a row's pattern that a rule names.
 * @param pairs that the rule is of, where it is of such
 * @throws HeadscopeError (input) for pairs beyond the row
 */
export function rowMask(row: readonly number[], rule: PatternRule, pairs: PatternInput["pairs"] = []): RowMask {
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

/** Numbers of one layer's patterns that are held at a time: 1 GB. */
const MOST_ENTRIES = 2 ** 28;

/** Patterns on one row, and the manner of reading its attention. */
export interface AlongOptions {
  readonly row: readonly number[];
  readonly masks: readonly RowMask[];
  /** Residual stream [1, positions, d_model] before each layer, where it is at hand; the giver frees them. */
  readonly streams?: readonly Tensor[] | undefined;
  /** Called before each layer; throwing from it ends the work. */
  readonly onLayer?: ((layer: number) => void) | undefined;
  /** Lets others in between two layers. */
  readonly turn?: Turn | undefined;
}

/**
 * Each head's share of attention along some patterns, all in one pass; one layer's attention is held at a time.
 * @returns [masks][layers][heads]
 * @throws HeadscopeError (input) for patterns that do not fit in memory, and attention that is no number
 */
export async function sharesAlong(
  model: Model,
  { row, masks, streams, onLayer, turn = pause }: AlongOptions,
): Promise<number[][][]> {
  const { n_layers, n_heads: H } = model.config;
  const T = row.length;
  if (H * T * T > MOST_ENTRIES)
    throw new HeadscopeError("input", `the patterns of ${H} heads over ${T} tokens do not fit in memory`, {
      remedy: `give rows of at most ${Math.floor(Math.sqrt(MOST_ENTRIES / H))} tokens`,
    });
  const weights = tf.tidy(() =>
    tf.stack(
      masks.map(({ mask }) => tf.tensor1d(mask)),
      1,
    ),
  ); // [query * key, masks]
  const shares: number[][][] = masks.map(() => []);
  let resid: Tensor | undefined;
  try {
    for (let layer = 0; layer < n_layers; layer++) {
      onLayer?.(layer);
      const name = blockHook(layer, "attn.hook_pattern");
      const stream = streams?.[layer] ?? resid;
      const input = stream ? { resid: stream, startLayer: layer } : { tokens: [row] };
      const run = forward(model, { ...input, stopLayer: layer + 1, logitsAt: "none" }, { names: [name] });
      resid?.dispose();
      resid = run.resid;
      const along = tf.tidy(() => tf.matMul(tf.reshape(run.activations.get(name)!, [H, T * T]), weights));
      const values = along.dataSync(); // [heads, masks]
      tf.dispose([along, ...run.activations.values()]);
      if (!allFinite(values)) throw notFinite(model, "attention patterns", [row]);
      for (const [m, table] of shares.entries())
        table.push(Array.from({ length: H }, (_, h) => values[h * masks.length + m]!));
      await turn();
    }
    return shares;
  } finally {
    tf.dispose(resid ? [weights, resid] : [weights]);
  }
}
