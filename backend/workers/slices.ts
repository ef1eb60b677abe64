import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { patternSlice, type SliceQuery } from "../common/api/prompts.ts";
import { HeadscopeError } from "../common/errors.ts";
import { encodeSafetensors } from "../models/formats/safetensors/safetensors.ts";
import { gatherRows } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { Reply } from "./handler.ts";
import { tokenIds } from "./prompts.ts";

const text = z.string().optional();
/** Fields of the payload of a look at an activation of a prompt. */
export const look = {
  model: z.string(),
  ids: tokenIds,
  slice: patternSlice.extend({ heads: text, queries: text, keys: text }),
  most: z.number().optional().describe("bytes that the answer may have; default any number"),
};

/** Axes of the heads, positions and keys of an activation of one row, its row axis dropped. */
export interface Axes {
  readonly heads: number | undefined;
  readonly queries: number;
  readonly keys: number | undefined;
}

/** Of patterns and scores [heads, query, key]. */
export const PATTERN_AXES: Axes = { heads: 0, queries: 1, keys: 2 };

/** Of everything else: [positions, width] or [positions, heads, width]. */
export function streamAxes(rank: number): Axes {
  return { heads: rank === 3 ? 1 : undefined, queries: 0, keys: undefined };
}

/**
 * The part of an activation that a query asks for, as a new tensor.
 * @param activation one row's, without the row axis
 * @throws HeadscopeError (usage) for an axis that it does not have, or an index outside
 */
export function sliceOf(activation: Tensor, axes: Axes, { heads, queries, keys }: SliceQuery): Tensor {
  return tf.tidy(() => {
    let part = tf.clone(activation);
    if (heads !== undefined) part = takeHeads(part, axisOf(axes.heads, "heads"), parseList(heads, part, axes.heads!));
    for (const [name, axis, text] of [["queries", axes.queries, queries], ["keys", axes.keys, keys]] as const) {
      if (text === undefined) continue;
      const [begin, end] = parseRange(text, part.shape[axisOf(axis, name)]!, name);
      const start = part.shape.map((_, a) => (a === axis ? begin : 0));
      part = tf.slice(part, start, part.shape.map((n, a) => (a === axis ? end - begin : n)));
    }
    return part;
  }); // biome-ignore format: tables
}

/**
 * Refuses a part that would be too large to answer with, before anything is computed.
 * @param shape of the whole activation, without the row axis
 * @param most bytes of the answer's numbers, default any number
 * @throws HeadscopeError `input` naming both sizes; as `sliceOf` for an axis or index that the activation does not have
 */
export function checkAnswer(
  shape: readonly number[],
  axes: Axes,
  query: SliceQuery,
  most = Number.POSITIVE_INFINITY,
): void {
  const sizes = [...shape];
  const { heads, queries, keys, dtype } = query;
  if (heads !== undefined) {
    const axis = axisOf(axes.heads, "heads");
    sizes[axis] = parseHeadList(heads, shape[axis]!).length;
  }
  for (const [name, axis, text] of [["queries", axes.queries, queries], ["keys", axes.keys, keys]] as const) {
    if (text === undefined) continue;
    const along = axisOf(axis, name);
    const [begin, end] = parseRange(text, shape[along]!, name);
    sizes[along] = end - begin;
  } // biome-ignore format: tables
  const bytes = sizes.reduce((product, size) => product * size, dtype === "f16" ? 2 : 4);
  if (bytes > most)
    throw new HeadscopeError("input", `an answer of [${sizes.join(", ")}] has ${bytes} bytes, ${most} are the most`, {
      remedy: "ask for fewer heads, queries or keys at once, or for dtype=f16",
    });
}

/** A tensor as a safetensors file of one tensor. @param dtype default f32 */
export function reply(
  name: string,
  tensor: Tensor,
  dtype: SliceQuery["dtype"],
  digest: string,
): Reply<{ shape: number[]; digest: string }> {
  const { shape } = tensor;
  const data = tensor.dataSync() as Float32Array;
  const file = { [name]: { dtype: dtype === "f16" ? ("F16" as const) : ("F32" as const), shape, data } };
  return new Reply({ shape, digest }, Buffer.concat([...encodeSafetensors(file, { "headscope.digest": digest })]));
}

/** Heads of a list such as "0,3", in its order, each once. @throws HeadscopeError (usage) */
function parseHeadList(text: string, count: number): number[] {
  const heads = text.split(",").map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : Number.NaN));
  const bad = heads.findIndex((head) => !(head < count));
  if (bad >= 0)
    throw new HeadscopeError("usage", `there is no head "${text.split(",")[bad]}" here`, {
      remedy: `give heads from 0 to ${count - 1}, with commas between`,
    });
  return [...new Set(heads)];
}

function parseList(text: string, part: Tensor, axis: number): number[] {
  return parseHeadList(text, part.shape[axis]!);
}

function parseRange(text: string, length: number, name: string): [number, number] {
  const [, begin, end] = /^(\d*):(\d*)$/.exec(text) ?? [];
  const range: [number, number] = [Number(begin), end === "" ? length : Number(end)];
  if (begin !== undefined && range[0] < range[1] && range[1] <= length) return range;
  throw new HeadscopeError("usage", `${name} "${text}" is no range of its ${length}`, {
    remedy: `give START:END, either may be left out, with 0 <= START < END <= ${length}`,
  });
}

function axisOf(axis: number | undefined, name: string): number {
  if (axis !== undefined) return axis;
  throw new HeadscopeError("usage", `this activation has no ${name}`, { remedy: `leave ${name} out` });
}

/** @param axis 0 or 1 */
function takeHeads(t: Tensor, axis: number, heads: readonly number[]): Tensor {
  if (axis === 0) {
    const [count, ...rest] = t.shape;
    const rows = gatherRows(tf.reshape(t, [count!, -1]), tf.tensor1d([...heads], "int32"));
    return tf.reshape(rows, [heads.length, ...rest]);
  }
  const parts = heads.map((head) => tf.slice(t, [0, head, 0], [t.shape[0]!, 1, t.shape[2]!]));
  return tf.concat(parts, 1);
}
