import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { functions } from "../runtime/capture.ts";
import { type Handle, type RawTensor, sliceFrom } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { readVariable, scatterRows } from "../runtime/variable.ts";
import type { ModelConfig } from "./config.ts";
import { type NativeRow, type RowLayout, slotOf, slotsUsed } from "./kv-cache.ts";

/** Cached rows from which compiled attention pays; below, its products are too small to matter. */
export const LONG = 1024;
/** Slots are read in steps of this many, the rest masked: compiled functions want few shapes. */
const STEP = 512;

/** Where one new token reaches into the rows of a layout: made once a forward, shared by its layers. */
export interface Reach {
  /** Slots to write, a head each, int32 [kv heads]. */
  slots: Tensor;
  /** By head: number of slots to read and their width, int32 [2]. */
  sizes: Tensor[];
  /** By head: 0 for slots in use, very negative for the others [1, slots]. */
  masks: Tensor[];
  dispose(): void;
}

/** Whether a token at this position attends to so many slots of a layout that it should take this way. */
export function isLong(position: number, layout: RowLayout): boolean {
  return layout.windows.some((w) => slotsUsed(position + 1, w) >= LONG);
}

/** Describes the reach of a token. @param capacity tokens that a full head holds */
export function describeReach(position: number, layout: RowLayout, capacity: number, config: ModelConfig): Reach {
  const slots = layout.windows.map((w, g) => layout.offsets[g]! + slotOf(position, w));
  // Each head has tensors of its own, equal or not: a function is captured once for every pattern of equal ones.
  const heads = layout.windows.map((w) => {
    const used = slotsUsed(position + 1, w);
    const read = Math.min(Math.ceil(used / STEP) * STEP, slotsUsed(capacity, w));
    return {
      size: tf.tensor1d([read, config.d_head], "int32"),
      mask: tf.tensor2d(new Float32Array(read).fill(-1e9, used), [1, read]),
    };
  });
  const reach = {
    slots: tf.tensor1d(slots, "int32"),
    sizes: heads.map((h) => h.size),
    masks: heads.map((h) => h.mask),
  };
  const made = [reach.slots, ...reach.sizes, ...reach.masks];
  for (const tensor of made) tf.keep(tensor);
  return { ...reach, dispose: () => tf.dispose(made) };
}

/**
 * Writes a token's keys and values [1, kv heads, d_head] and hands out what its heads read: keys, then values, of each head
 * [slots, d_head]. They share the cache's memory, so they must be gone before the next token is written.
 */
export function writeAndRead(k: Tensor, v: Tensor, row: NativeRow, reach: Reach, config: ModelConfig): Tensor[] {
  const { n_key_value_heads: G, d_head: D } = config;
  const inputs: Handle[] = [
    k,
    v,
    reach.slots,
    ...row.layout.begins,
    ...reach.sizes,
    row.keys.handle,
    row.values.handle,
  ];
  const body = (...args: Handle[]): Tensor[] => {
    const [k, v, slots] = args as [Tensor, Tensor, Tensor];
    const begins = args.slice(3, 3 + G) as Tensor[];
    const sizes = args.slice(3 + G, 3 + 2 * G) as Tensor[];
    const [keys, values] = (
      [
        [k, args.at(-2)!],
        [v, args.at(-1)!],
      ] as [Tensor, RawTensor][]
    ).map(([rows, handle]) => {
      scatterRows(handle, slots, tf.reshape(rows, [G, D]));
      return readVariable(handle);
    });
    return begins.flatMap((begin, g) => [sliceFrom(keys!, begin, sizes[g]!), sliceFrom(values!, begin, sizes[g]!)]);
  };
  return functions
    .get(
      `write and read|${G}x${D}`,
      body,
      () => inputs,
      () => ({ name: "write and read the cache" }),
    )
    .run(inputs);
}

/**
 * Attention of one token over what its heads read, for a function that XLA compiles.
 * @param q [1, heads, d_head] @param slices keys and values of each KV head [slots, d_head] @param masks [1, slots] each
 * @returns z [1, heads * d_head]
 */
export function attendSlices(q: Tensor, slices: Tensor[], masks: Tensor[], config: ModelConfig): Tensor {
  const { n_heads: H, n_key_value_heads: G, d_head: D, attn_scale } = config;
  const group = H / G;
  const scaled = tf.mul(q, attn_scale);
  const outputs = masks.map((mask, g) => {
    const [keys, values] = [slices[2 * g]!, slices[2 * g + 1]!];
    const queries = tf.reshape(tf.slice(scaled, [0, g * group, 0], [1, group, D]), [group, D]);
    const products = tf.transpose(tf.matMul(keys as Tensor2D, queries as Tensor2D, false, true)); // [group, slots]
    return tf.matMul(tf.softmax(tf.add(products, mask)) as Tensor2D, values as Tensor2D);
  });
  return tf.reshape(tf.concat(outputs, 0), [1, H * D]);
}
