import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../../../common/errors.ts";
import type { KvCache } from "../../../../models/cache/kv-cache.ts";
import type { StoredRows } from "../../../../models/cache/storage/storage.ts";
import { localWindow, type ModelConfig } from "../../../../models/config.ts";
import type { Model } from "../../../../models/model.ts";
import { rotate } from "../../../../models/transformer/block.ts";
import { rotaryFrequencies } from "../../../../models/transformer/rope.ts";
import { gatherRows } from "../../../../runtime/ops.ts";
import { tf } from "../../../../runtime/tf.ts";

/**
 * Closes the gaps that tokens have left in a row of a cache: keys are turned to the positions 0, 1, 2, … in their order, and the next
 * token comes right behind.
 * @throws HeadscopeError (usage) where heads hold different numbers of tokens, or stream
 */
export function rerotate(model: Model, cache: KvCache, row: number): void {
  const heads = cache.windows.flatMap((layer, l) => layer.map((_, head) => ({ layer: l, row, head })));
  const before = heads.map(({ layer, head }) => cache.positions(layer, row, head));
  const turned = heads.map(({ layer, head }, i) => turnedBack(model, cache.read(layer, row, head), before[i]!, layer));
  cache.renumber(row);
  heads.forEach((place, i) => {
    const { keys, values, moved } = turned[i]!;
    if (moved.length > 0) cache.write(place, moved, { keys, values });
    tf.dispose([keys, values]);
  });
}

/** The rows that stand at a later position than their place, turned to it. @param positions ascending @returns tensors of the caller's */
function turnedBack(
  model: Model,
  rows: StoredRows,
  positions: readonly number[],
  layer: number,
): StoredRows & { moved: number[] } {
  const first = positions.findIndex((position, place) => position !== place);
  const from = first < 0 ? positions.length : first;
  const moved = Array.from({ length: positions.length - from }, (_, i) => from + i);
  const turned = tf.tidy(() => {
    const [keys, values] = [rows.keys, rows.values].map((t) => tf.slice(t, from)) as [
      typeof rows.keys,
      typeof rows.values,
    ];
    if (moved.length === 0) return { keys, values };
    const steps = moved.map((place) => positions[place]! - place);
    return { keys: turnBack(keys, steps, model, localWindow(model.config, layer) !== undefined), values };
  });
  tf.dispose([rows.keys, rows.values]);
  return { ...turned, moved };
}

/** Keys as they would be so many positions earlier. @param keys [rows, d_head] @param steps by row */
function turnBack(
  keys: StoredRows["keys"],
  steps: readonly number[],
  model: Model,
  local: boolean,
): StoredRows["keys"] {
  const tables = model.rotaryUpTo(Math.max(...steps) + 1, local)!;
  const index = tf.tensor1d([...steps], "int32");
  const factor = factorOf(model.config, local);
  const of = (table: typeof keys): typeof keys => tf.div(tf.expandDims(gatherRows(table, index), 1), factor);
  const rotation = { cos: of(tables.cos), sin: tf.neg(of(tables.sin)) };
  return tf.reshape(rotate(tf.expandDims(keys, 1), rotation, model.config), keys.shape);
}

/**
 * Keys of a layer that reaches everything, turned back from their positions to position 0, or ahead again; as they are where the model
 * does not rotate.
 * @param keys [rows, KV heads, d_head]
 * @param positions int32 [rows]
 */
export function turnKeys(keys: Tensor, positions: Tensor, model: Model, way: "back" | "ahead"): Tensor {
  const tables = model.rotaryUpTo(model.config.n_ctx);
  if (!tables) return keys;
  const factor = factorOf(model.config, false);
  const of = (table: Tensor): Tensor => tf.div(tf.expandDims(gatherRows(table, positions), 1), factor);
  const [cos, sin] = [of(tables.cos), of(tables.sin)];
  return rotate(keys, { cos, sin: way === "back" ? tf.neg(sin) : sin }, model.config);
}

/** The factor on the cosines and sines of a model's tables, which a turn leaves alone. */
function factorOf(config: ModelConfig, local: boolean): number {
  const { base, scaling } =
    local && config.rotary_local ? config.rotary_local : { base: config.rotary_base, scaling: config.rotary_scaling };
  return rotaryFrequencies(config.rotary_dim, base, scaling).factor;
}

/** @throws HeadscopeError (unsupported) for a model whose keys carry their positions in another way than by a rotation */
export function checkRotates({ config, ref }: Model): void {
  if (config.positional_embedding_type === "rotary") return;
  throw new HeadscopeError(
    "unsupported",
    `${ref} does not rotate its keys, so that they can't be turned to other positions`,
    {
      remedy: "leave rerotate out",
      field: "rerotate",
    },
  );
}
