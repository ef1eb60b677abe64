import type { Tensor } from "@tensorflow/tfjs";
import { functions } from "../../runtime/capture.ts";
import type { Handle, RawTensor } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { Model } from "../model.ts";
import { attendHeads, type KeysAndValues } from "../transformer/attention.ts";
import { nativeStore } from "./captured-attention.ts";
import type { KvCache, NativeRow, RowLayout } from "./kv-cache.ts";
import type { AttentionStore, StagedAttention } from "./store.ts";

/** Cached rows from which compiled attention pays; below, its products are too small to matter. */
export const LONG = 1024;
/** Rows are read in steps of this many, the rest masked: compiled functions want few shapes. */
const STEP = 512;
/** Tokens of a step that go the plain way before its function is compiled, which costs as much as it saves in dozens. */
export const TRIAL = 32;

/** The place of one new token in full heads, and the rows that it reads: made once a forward, shared by its layers. */
export interface LongAccess {
  /** Row of the token in each head's buffer, int32 [kv heads]. */
  slots: Tensor;
  /** Number of rows to read and their width, int32 [2]. */
  size: Tensor;
  /** 0 for rows in use, very negative for the others [1, rows]. */
  mask: Tensor;
  dispose(): void;
}

/** One new token: its key and value [1, kv heads, d_head] and its position. */
export interface LongToken {
  k: Tensor;
  v: Tensor;
  position: number;
}

/** A layer of a cache, and the accesses of a forward's layers by layout. */
export interface LongLayer {
  cache: KvCache;
  layer: number;
  longAccesses: Map<RowLayout, LongAccess | undefined>;
}

/**
 * The store of one row's one new token in a long cache. It reads outside of a captured function, so that XLA can compile the
 * attention; what it reads shares the cache's memory, so that must be gone before the next token is written.
 * @returns undefined where the plain way serves better: without native buffers, in short caches, with streaming heads, and for the
 * first tokens of every step
 */
export function longStore(
  token: LongToken,
  { cache, layer, longAccesses }: LongLayer,
  model: Pick<Model, "key" | "config">,
): AttentionStore | undefined {
  const row = cache.native?.[layer]?.[0];
  if (!row) return undefined;
  const { layout } = row;
  if (!longAccesses.has(layout)) longAccesses.set(layout, describeLong(token.position, layout, cache.capacity, model));
  const access = longAccesses.get(layout);
  return access && { update: () => [writeAndRead(token, row, access)] };
}

/** Attention over a long cache as a part of a function that XLA compiles. @param q [1, heads, d_head] */
export function longAttention(q: Tensor, store: AttentionStore, { config }: Pick<Model, "config">): StagedAttention {
  const held = store.update(0)[0]!;
  return {
    key: "long",
    tensors: [q, held[0]!.mask!, ...held.flatMap(({ keys, values }) => [keys, values])],
    z: ([q, mask, ...slices]) => {
      const read = held.map((_, g) => ({ keys: slices[2 * g]!, values: slices[2 * g + 1]!, mask }));
      return attendHeads(q!, read, config).z;
    },
  };
}

const tried = new Map<string, number>();

/** @param capacity tokens that a head holds */
function describeLong(
  position: number,
  layout: RowLayout,
  capacity: number,
  { key, config }: Pick<Model, "key" | "config">,
): LongAccess | undefined {
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

/** Writes a token's key and value and reads by KV head what its queries reach. */
function writeAndRead({ k, v }: LongToken, row: NativeRow, { slots, size, mask }: LongAccess): KeysAndValues[] {
  const [, G, D] = k.shape as [number, number, number];
  const { windows, begins } = row.layout;
  const inputs: Handle[] = [k, v, slots, size, ...begins, row.keys.handle, row.values.handle];
  const body = (...args: Handle[]): Tensor[] => {
    const [k, v, slots, size, ...rest] = args as [Tensor, Tensor, Tensor, Tensor, ...Handle[]];
    const parts = [(rest.slice(0, G) as Tensor[]).map((begin) => ({ begin, size }))];
    const tokens = { k, v, handles: rest.slice(G) as RawTensor[] };
    const store = nativeStore(tokens, [{ slots: [slots], parts }], { windows, limits: windows.map(() => false) });
    return store.update(0)[0]!.flatMap(({ keys, values }) => [keys, values]);
  };
  const slices = functions
    .get(
      `write and read|${G}x${D}`,
      body,
      () => inputs,
      () => ({ name: "write and read the cache" }),
    )
    .run(inputs);
  return begins.map((_, g) => ({ keys: slices[2 * g]!, values: slices[2 * g + 1]!, mask }));
}
