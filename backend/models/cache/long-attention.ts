import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { functions } from "../../runtime/capture.ts";
import { type Handle, type RawTensor, sliceFrom } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { readVariable, scatterRows } from "../../runtime/variable.ts";
import type { ModelConfig } from "../config.ts";
import type { Model } from "../model.ts";
import { softCap } from "../transformer/attention.ts";
import type { NativeRow, RowLayout } from "./kv-cache.ts";

/** Cached rows from which compiled attention pays; below, its products are too small to matter. */
export const LONG = 1024;
/** Rows are read in steps of this many, the rest masked: compiled functions want few shapes. */
const STEP = 512;
/** Tokens of a step that go the plain way before its function is compiled, which costs as much as it saves in dozens. */
export const TRIAL = 32;

/** Where one new token reaches into full heads: made once a forward, shared by its layers. */
export interface Reach {
  /** Row of the token in each head's buffer, int32 [kv heads]. */
  slots: Tensor;
  /** Number of rows to read and their width, int32 [2]. */
  size: Tensor;
  /** 0 for rows in use, very negative for the others [1, rows]. */
  mask: Tensor;
  dispose(): void;
}

const tried = new Map<string, number>();

/**
 * Describes the reach of a token, or undefined where the plain way serves better: short caches, streaming heads, and the
 * first tokens of every step.
 * @param position of the token @param capacity tokens that a head holds
 */
export function describeReach(
  position: number,
  layout: RowLayout,
  capacity: number,
  { key, config }: Pick<Model, "key" | "config">,
): Reach | undefined {
  const used = position + 1;
  if (used < LONG || layout.windows.some((window) => window !== undefined)) return undefined;
  const rows = Math.min(Math.ceil(used / STEP) * STEP, capacity);
  const tries = tried.get(`${key}|${rows}`) ?? 0;
  tried.set(`${key}|${rows}`, tries + 1);
  if (tries < TRIAL) return undefined;
  const slots = tf.tensor1d(
    layout.offsets.map((offset) => offset + position),
    "int32",
  );
  const size = tf.tensor1d([rows, config.d_head], "int32");
  const mask = tf.tensor2d(new Float32Array(rows).fill(-1e9, used), [1, rows]);
  for (const tensor of [slots, size, mask]) tf.keep(tensor);
  return { slots, size, mask, dispose: () => tf.dispose([slots, size, mask]) };
}

/**
 * Writes a token's keys and values [1, kv heads, d_head] and hands out what its heads read: keys, then values, of each head
 * [rows, d_head]. They share the cache's memory, so they must be gone before the next token is written.
 */
export function writeAndRead(k: Tensor, v: Tensor, row: NativeRow, reach: Reach, config: ModelConfig): Tensor[] {
  const { n_key_value_heads: G, d_head: D } = config;
  const inputs: Handle[] = [k, v, reach.slots, reach.size, ...row.layout.begins, row.keys.handle, row.values.handle];
  const body = (...args: Handle[]): Tensor[] => {
    const [k, v, slots, size] = args as [Tensor, Tensor, Tensor, Tensor];
    const begins = args.slice(4, 4 + G) as Tensor[];
    const [keys, values] = (
      [
        [k, args.at(-2)!],
        [v, args.at(-1)!],
      ] as [Tensor, RawTensor][]
    ).map(([rows, handle]) => {
      scatterRows(handle, slots, tf.reshape(rows, [G, D]));
      return readVariable(handle);
    });
    return begins.flatMap((begin) => [sliceFrom(keys!, begin, size), sliceFrom(values!, begin, size)]);
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
 * @param q [1, heads, d_head] @param slices keys and values of each KV head [rows, d_head] @param mask [1, rows]
 * @returns z [1, heads * d_head]
 */
export function attendSlices(q: Tensor, slices: Tensor[], mask: Tensor, config: ModelConfig): Tensor {
  const { n_heads: H, n_key_value_heads: G, d_head: D, attn_scale, attn_scores_soft_cap } = config;
  const group = H / G;
  const scaled = tf.mul(q, attn_scale);
  const outputs = Array.from({ length: G }, (_, g) => {
    const [keys, values] = [slices[2 * g]!, slices[2 * g + 1]!];
    const queries = tf.reshape(tf.slice(scaled, [0, g * group, 0], [1, group, D]), [group, D]);
    const products = tf.transpose(tf.matMul(keys as Tensor2D, queries as Tensor2D, false, true)); // [group, rows]
    const scores = tf.add(softCap(products, attn_scores_soft_cap), mask);
    return tf.matMul(tf.softmax(scores) as Tensor2D, values as Tensor2D);
  });
  return tf.reshape(tf.concat(outputs, 0), [1, H * D]);
}
