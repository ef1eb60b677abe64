import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { forwardInTurns } from "../../backend/models/forward/turns.ts";
import type { Model } from "../../backend/models/model.ts";
import { encodeText } from "../../backend/models/tokens.ts";
import { blockHook } from "../../backend/models/transformer/hook-points.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { loopTurn } from "../../backend/runtime/turn.ts";
import type { MeasurementMeans } from "../base.ts";

/** Parts of a token that are measured: three norms, and the cosine of queries with its key. */
export const PARTS = ["hidden", "key", "value", "angle"] as const;
/** One of `PARTS`. */
export type Part = (typeof PARTS)[number];

const beside = z.object({ own: z.array(z.number()), others: z.array(z.number()) });
const place = z.object({ hidden: beside, key: beside, value: beside, angle: beside });

/** Schema of what is measured of a text, by layer, as means over its windows and heads. */
export const anatomyValues = z.object({
  /** The first token, beside the mean of all others. */
  first: place,
  /** The token in the middle of a window, beside the mean of the others but the first. */
  middle: place,
  /** Mean attention to the first token from all queries behind it. */
  attention: z.array(z.number()),
});
/** Measurements of a text's windows. */
export type AnatomyValues = z.output<typeof anatomyValues>;

/** Hook points that are read. */
const HOOKS = ["hook_resid_pre", "attn.hook_rot_q", "attn.hook_rot_k", "attn.hook_v", "attn.hook_pattern"] as const;

/**
 * Measures windows of a text that begin at evenly spread tokens.
 * @throws HeadscopeError (usage) for a text too short for that many different windows, and a model that does not rotate its keys
 * @see Gu et al. 2025, section 3
 */
export async function measureAnatomy(
  model: Model,
  { text, windows, tokens: length }: { text: string; windows: number; tokens: number },
  { progress, signal }: MeasurementMeans,
): Promise<AnatomyValues> {
  const rows = windowsOf(encodeText(model, text), windows, length);
  const { n_layers } = model.config;
  const turn = loopTurn(signal);
  const values: AnatomyValues = { first: empty(), middle: empty(), attention: [] };
  let stream: Tensor | undefined;
  try {
    for (let layer = 0; layer < n_layers; layer++) {
      const names = HOOKS.map((name) => blockHook(layer, name));
      const input = stream === undefined ? { tokens: rows } : { resid: stream };
      const run = await forwardInTurns(
        model,
        { ...input, startLayer: layer, stopLayer: layer + 1, logitsAt: "none" },
        { names },
        turn,
      );
      stream?.dispose();
      stream = run.resid;
      const read = names.map((name) => run.activations.get(name)!);
      try {
        addLayer(values, read, length);
      } finally {
        tf.dispose([...read, ...(run.logits ? [run.logits] : [])]);
      }
      progress(layer + 1, n_layers);
      await turn();
    }
    return values;
  } finally {
    stream?.dispose();
  }
}

function empty(): AnatomyValues["first"] {
  const none = () => ({ own: [], others: [] });
  return { hidden: none(), key: none(), value: none(), angle: none() };
}

/** Windows that begin at evenly spread tokens [windows][length]. */
function windowsOf(ids: readonly number[], windows: number, length: number): number[][] {
  const room = ids.length - length;
  if (room + 1 >= windows)
    return Array.from({ length: windows }, (_, w) => {
      const start = windows === 1 ? 0 : Math.round((w * room) / (windows - 1));
      return ids.slice(start, start + length);
    });
  throw new HeadscopeError("usage", `a text has ${ids.length} tokens, too few for ${windows} windows of ${length}`, {
    remedy: "give fewer windows, or fewer tokens",
    field: "windows",
  });
}

/** Adds a layer's means. @param read of `HOOKS`, each [windows, positions, ...], patterns [windows, heads, query, key] */
function addLayer(values: AnatomyValues, read: readonly Tensor[], length: number): void {
  const [hidden, queries, keys, values_, pattern] = read as [Tensor, Tensor, Tensor, Tensor, Tensor];
  const norms = { hidden: byPosition(hidden), key: byPosition(keys), value: byPosition(values_) };
  const cosines = cosinesOf(queries, keys); // [query][key]
  const places = { first: 0, middle: Math.floor(length / 2) };
  for (const [name, own] of Object.entries(places) as ["first" | "middle", number][]) {
    const other = (position: number): boolean => position > 0 && position !== own;
    for (const [part, byPlace] of Object.entries(norms) as ["hidden" | "key" | "value", number[]][]) {
      values[name][part].own.push(byPlace[own]!);
      values[name][part].others.push(meanOf(byPlace.filter((_, position) => other(position))));
    }
    const behind = cosines.flatMap((row, query) => (query > own ? [row] : []));
    values[name].angle.own.push(meanOf(behind.map((row) => row[own]!)));
    // The keys that such a query sees: all before it, and its own.
    values[name].angle.others.push(
      meanOf(behind.map((row, i) => meanOf(row.filter((_, key) => other(key) && key <= own + 1 + i)))),
    );
  }
  const shares = tf.tidy(() => tf.mean(tf.slice(pattern, [0, 0, 1, 0], [-1, -1, -1, 1])));
  values.attention.push(shares.dataSync()[0]!);
  shares.dispose();
}

/** Norms by position, as means over windows and heads. @param tensor [windows, positions, (heads,) width] */
function byPosition(tensor: Tensor): number[] {
  const norms = tf.tidy(() => {
    const own = tf.norm(tensor, "euclidean", -1); // [windows, positions, (heads)]
    return tf.mean(own.rank === 3 ? tf.mean(own, 2) : own, 0);
  });
  const found = [...norms.dataSync()];
  norms.dispose();
  return found;
}

/**
 * Cosines of every query with every key, as means over windows and query heads [query][key].
 * @param queries [windows, positions, heads, d_head] @param keys [windows, positions, KV heads, d_head]
 */
function cosinesOf(queries: Tensor, keys: Tensor): number[][] {
  const table = tf.tidy(() => {
    const [, , heads] = queries.shape as number[];
    const [windows, positions, groups, width] = keys.shape as [number, number, number, number];
    const directions = (t: Tensor): Tensor => tf.div(t, tf.norm(t, "euclidean", -1, true));
    const wide = tf.tile(tf.reshape(directions(keys), [windows, positions, groups, 1, width]), [1, 1, 1, heads! / groups, 1]); // biome-ignore format: one line
    const byHead = (t: Tensor): Tensor => tf.transpose(tf.reshape(t, [windows, positions, heads!, width]), [0, 2, 1, 3]); // biome-ignore format: one line
    return tf.mean(tf.matMul(byHead(directions(queries)), byHead(wide), false, true), [0, 1]); // [query, key]
  });
  const found = table.arraySync() as number[][];
  table.dispose();
  return found;
}

function meanOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
}
