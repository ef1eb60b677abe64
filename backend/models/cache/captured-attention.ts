import type { Tensor, Tensor2D } from "@tensorflow/tfjs";
import { type Captured, functions } from "../../runtime/capture.ts";
import { gatherRows, type Handle, type RawTensor, reshapeOpen, sliceFrom } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { readVariable, scatterRows } from "../../runtime/variable.ts";
import type { ModelConfig } from "../config.ts";
import {
  additiveMask,
  joinReduced,
  type PatternReduction,
  reducePattern,
  softCap,
  type Window,
} from "../transformer/attention.ts";
import { type Access, type Chunk, type HeadMask, partsOf } from "./access.ts";
import { type KvCache, type NativeRow, slotOf, survivors } from "./kv-cache.ts";

/**
 * Attention of new tokens over a native cache by one captured function that also writes the cache.
 * The number of cached tokens is an input, so that no length causes a new capture.
 * @param layer in the cache @param access of the layer's layout
 * @returns z [rows * tokens, heads * d_head], then the reductions
 */
export function attendCached(
  chunk: Chunk,
  cache: KvCache,
  layer: number,
  access: Access,
  config: ModelConfig,
  reductions: readonly PatternReduction[],
): Tensor[] {
  const rows = cache.native![layer]!;
  const handles = rows.flatMap((row) => [row.keys.handle, row.values.handle]);
  access.call ??= describeCall(chunk, rows, access, config, reductions);
  const { described, key } = access.call;
  const inputs: Handle[] = [chunk.q, chunk.k, chunk.v, ...described, ...handles];
  const fn = functions.get(
    key,
    access.call.body,
    () => inputs,
    () => ({
      name: `attention over the cache, ${chunk.tokens} tokens`,
      shapes: inputs.map((input, i) => (i >= 3 && i < 3 + described.length ? openShape(input as Tensor) : undefined)),
    }),
  );
  const out = fn.run(inputs);
  if (chunk.tokens > 1) writeRings(chunk, cache, layer);
  return out;
}

/** What all layers of a layout share in a forward: the function and the tensors that describe the place. */
export interface CachedCall {
  key: string;
  described: Tensor[];
  body: (...args: Handle[]) => Tensor[];
}

function describeCall(
  chunk: Chunk,
  rows: readonly NativeRow[],
  access: Access,
  config: ModelConfig,
  reductions: readonly PatternReduction[],
): CachedCall {
  const { layout } = rows[0]!;
  // Tensors that heads share are passed once, and referred to by their number.
  const described: Tensor[] = [];
  const refer = (t: Tensor): number => (described.includes(t) ? described.indexOf(t) : described.push(t) - 1);
  const places: Places = {
    queries: access.queries.map((row) => row.map(refer)),
    slots: access.slots.map((row) => row.map(refer)),
    sizes: access.sizes.map((row) => row.map((head) => head.map(refer))),
    positions: access.positions.map((row) => row.map((head) => head.map(refer))),
    begins: access.begins.map((row) => row.map((head) => head.map(refer))),
  };
  const key = [
    "cached",
    rows.length,
    chunk.tokens,
    dimensions(config),
    layout.key,
    JSON.stringify([places, access.masks]),
    reductions.map((r) => r.name).join("+"),
  ].join("|");
  return {
    key,
    described,
    body: cachedBody(
      chunk.tokens,
      rows.length,
      layout.windows,
      access.masks,
      places,
      described.length,
      config,
      reductions,
    ),
  };
}

/** Key positions are as long as the cache is; all else keeps its shape. */
function openShape(tensor: Tensor): number[] | undefined {
  return tensor.rank === 2 && tensor.shape[0] === 1 ? [1, -1] : undefined;
}

/** An access by the numbers of its tensors. */
interface Places {
  queries: number[][];
  slots: number[][];
  sizes: number[][][];
  positions: number[][][];
  begins: number[][][];
}

function cachedBody(
  C: number,
  rows: number,
  windows: readonly (Window | undefined)[],
  limits: readonly (HeadMask | false)[],
  places: Places,
  describedCount: number,
  config: ModelConfig,
  reductions: readonly PatternReduction[],
): (...args: Handle[]) => Tensor[] {
  const { n_heads: H, n_key_value_heads: G, d_head: D, attn_scale, attn_scores_soft_cap } = config;
  const R = H / G;
  return (...args) => {
    const [q, k, v] = args as [Tensor, Tensor, Tensor];
    const described = args.slice(3, 3 + describedCount) as Tensor[];
    const handles = args.slice(3 + describedCount) as RawTensor[];
    const scaled = tf.mul(q, attn_scale);
    const fullHeads = windows.flatMap((w, g) => (w ? [] : [g]));
    const masks = new Map<string, Tensor>();
    const zs: Tensor[] = [];
    const reduced: Tensor[][] = reductions.map(() => []);
    for (let r = 0; r < rows; r++) {
      const [query, valid] = places.queries[r]!.map((i) => described[i]!);
      const ownRows = (t: Tensor, g: number): Tensor => tf.reshape(tf.slice(t, [r * C, g, 0], [C, 1, D]), [C, D]);
      const buffers = [k, v].map((rowsOf, i) => {
        const handle = handles[2 * r + i]!;
        const slots = places.slots[r]!.map((s) => described[s]!);
        if (C === 1)
          scatterRows(
            handle,
            slots[0]!,
            tf.reshape(rows === 1 ? rowsOf : tf.slice(rowsOf, [r, 0, 0], [1, G, D]), [G, D]),
          );
        else for (const [n, g] of fullHeads.entries()) scatterRows(handle, slots[n]!, ownRows(rowsOf, g));
        return readVariable(handle);
      });
      const parts = partsOf(C).map(({ first, count }, j) => {
        const outputs: Tensor[] = [];
        const patterns: Tensor[] = [];
        for (let g = 0; g < G; g++) {
          const place = [described[places.begins[r]![g]![j]!]!, described[places.sizes[r]![g]![j]!]!] as const;
          const ring = windows[g] !== undefined && C > 1;
          const [keys, values] = buffers.map((buffer, i) =>
            ring
              ? tf.concat([sliceFrom(buffer, ...place), ownRows(i === 0 ? k : v, g)], 0)
              : sliceFrom(buffer, ...place),
          );
          const mine = tf.slice(scaled, [r * C + first, g * R, 0], [count, R, D]);
          const queries =
            C === 1 ? tf.reshape(mine, [R, D]) : tf.reshape(tf.transpose(mine, [1, 0, 2]), [R * count, D]);
          const products =
            C === 1
              ? tf.transpose(tf.matMul(keys as Tensor2D, queries as Tensor2D, false, true))
              : reshapeOpen(tf.matMul(queries as Tensor2D, keys as Tensor2D, false, true), [R, count, -1]);
          const scores = softCap(products, attn_scores_soft_cap);
          const limit = limits[g]!;
          const pattern = tf.softmax(limit ? tf.add(scores, maskOf(r, g, j, query!, limit)) : scores);
          outputs.push(
            tf.reshape(tf.matMul(reshapeOpen(pattern, [R * count, -1]) as Tensor2D, values as Tensor2D), [R, count, D]),
          );
          if (reductions.length > 0) patterns.push(reshapeOpen(pattern, [R, count, -1]));
        }
        const z = tf.concat(outputs, 0); // [H, count, D]
        const flat = tf.reshape(C === 1 ? z : tf.transpose(z, [1, 0, 2]), [count, H * D]);
        if (reductions.length === 0) return { z: flat, reduced: [] };
        const whole = reshapeOpen(tf.concat(patterns, 0), [1, H, count, -1]);
        const [theirs, real] = [query!, valid!].map((t) => tf.slice(t, [first, 0], [count, 1]));
        return {
          z: flat,
          reduced: reducePattern(whole, reductions, theirs!, described[places.positions[r]![0]![j]!]!, real!),
        };
      });
      zs.push(...parts.map((part) => part.z));
      reductions.forEach((reduction, i) => {
        reduced[i]!.push(
          joinReduced(
            reduction,
            parts.map((part) => part.reduced[i]!),
          ),
        );
      });
    }
    const rowsJoined = reduced.map((all) => (all.length === 1 ? all[0]! : tf.concat(all, 0)));
    return [zs.length === 1 ? zs[0]! : tf.concat(zs, 0), ...rowsJoined];

    function maskOf(r: number, g: number, j: number, query: Tensor, { window, local }: HeadMask): Tensor {
      const { first, count } = partsOf(C)[j]!;
      const positions = places.positions[r]![g]![j]!;
      const key = `${positions} ${first} ${window?.sink} ${window?.recent}`;
      const mask =
        masks.get(key) ?? additiveMask(tf.slice(query, [first, 0], [count, 1]), described[positions]!, window, local);
      masks.set(key, mask);
      return mask;
    }
  };
}

/** Streaming heads are written after the chunk's attention, which still needs the keys that the chunk pushes out. */
function writeRings(chunk: Chunk, cache: KvCache, layer: number): void {
  const G = chunk.k.shape[1]!;
  cache.native![layer]!.forEach((row, r) => {
    const { windows, offsets } = row.layout;
    const start = chunk.starts[r]!;
    const kept = windows.flatMap((w, g) =>
      w ? survivors(start, start + chunk.real, w).map((p) => ({ p, g, w })) : [],
    );
    if (kept.length === 0) return;
    const slots = tf.tensor1d(
      kept.map(({ p, g, w }) => offsets[g]! + slotOf(p, w)),
      "int32",
    );
    const index = tf.tensor1d(
      kept.map(({ p, g }) => (r * chunk.tokens + p - start) * G + g),
      "int32",
    );
    const inputs: Handle[] = [chunk.k, chunk.v, slots, index, row.keys.handle, row.values.handle];
    ringWriter(chunk.k, inputs).run(inputs);
    tf.dispose([slots, index]);
  });
}

function ringWriter(k: Tensor, example: Handle[]): Captured {
  const [tokens, G, D] = k.shape as [number, number, number];
  return functions.get(
    `ring|${tokens}x${G}x${D}`,
    (...args) => {
      const [keys, values, slots, index] = args as Tensor[];
      for (const [source, variable] of [
        [keys!, args[4]!],
        [values!, args[5]!],
      ] as [Tensor, RawTensor][]) {
        scatterRows(variable, slots!, gatherRows(tf.reshape(source, [tokens * G, D]), index!));
      }
      return [];
    },
    () => example,
    () => ({ name: "ring write", shapes: [undefined, undefined, [-1], [-1]] }),
  );
}

function dimensions(config: ModelConfig): string {
  return `${config.n_heads},${config.n_key_value_heads},${config.d_head},${config.attn_scale},${config.attn_scores_soft_cap}`;
}
