import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { tf } from "../../runtime/tf.ts";
import { isPattern } from "../transformer/hook-points.ts";
import type { Chunk, Plan } from "./plan.ts";
import type { Affine } from "./types.ts";

/**
 * The part of an intervention that concerns a chunk, padded like the chunk; undefined where the chunk lies outside of it.
 * @param name full hook name
 * @throws HeadscopeError (usage) for a query that a frozen or patched pattern does not have
 */
export function sliceAffine(
  affine: Affine,
  name: string,
  chunk: Chunk,
  plan: Pick<Plan, "starts">,
): Affine | undefined {
  const before = affine.before && sliceAffine(affine.before, name, chunk, plan);
  const pattern = isPattern(name);
  const axis = pattern ? 2 : 1;
  const firsts = chunkStarts(chunk, plan);
  const last = Math.max(...firsts) + chunk.real - 1;
  if (affine.queries !== undefined && last >= affine.queries) {
    throw new HeadscopeError("usage", `${name} is given for ${affine.queries} queries, and query ${last} is run`, {
      remedy: "choose `positions` among those that there are, or give a pattern with a query for every position",
    });
  }
  const extent = Math.max(affine.gain.shape[axis] ?? 1, affine.bias.shape[axis] ?? 1);
  if (extent > 1 && Math.min(...firsts) >= extent) return before;
  const keys = Math.max(...firsts) + chunk.tokens;
  const cut = (t: Tensor, outside: number): Tensor => {
    const part = (t.shape[axis] ?? 1) > 1 ? positionsOf(t, { axis, outside }, firsts, chunk) : t;
    return pattern && part.shape[3]! > 1 ? widened(part, 3, keys, outside) : part;
  };
  const [gain, bias] = [cut(affine.gain, 1), cut(affine.bias, 0)];
  return before ? { gain: tf.mul(gain, before.gain), bias: tf.add(tf.mul(gain, before.bias), bias) } : { gain, bias };
}

/** By row, the position of the sequence at which a chunk begins. */
export function chunkStarts(chunk: Chunk, plan: Pick<Plan, "starts">): number[] {
  return plan.starts.map((start) => start + chunk.first);
}

/** A chunk's positions of a table over the sequence, and `outside` where the table has none. */
function positionsOf(
  t: Tensor,
  { axis, outside }: { axis: number; outside: number },
  firsts: number[],
  chunk: Chunk,
): Tensor {
  const stretch = (rows: Tensor, first: number): Tensor => {
    const count = Math.max(0, Math.min(chunk.real, rows.shape[axis]! - first));
    const size = rows.shape.map((n, a) => (a === axis ? count : n));
    if (count === 0)
      return tf.fill(
        rows.shape.map((n, a) => (a === axis ? chunk.tokens : n)),
        outside,
      );
    const begin = rows.shape.map((_, a) => (a === axis ? first : 0));
    return widened(tf.slice(rows, begin, size), axis, chunk.tokens, outside);
  };
  if (firsts.every((first) => first === firsts[0])) return stretch(t, firsts[0]!);
  const row = (r: number): Tensor => (t.shape[0] === 1 ? t : tf.slice(t, r, 1));
  return tf.concat(
    firsts.map((first, r) => stretch(row(r), first)),
    0,
  );
}

/** An axis cut or filled up to a length. */
function widened(t: Tensor, axis: number, length: number, filler: number): Tensor {
  const extent = t.shape[axis]!;
  if (extent === length) return t;
  const size = t.shape.map((n, a) => (a === axis ? Math.min(n, length) : n));
  if (extent > length)
    return tf.slice(
      t,
      t.shape.map(() => 0),
      size,
    );
  return tf.pad(
    t,
    t.shape.map((_, a) => [0, a === axis ? length - extent : 0] as [number, number]),
    filler,
  );
}

/** Drops padded positions (for patterns: queries, and keys that only padding could attend to). */
export function cutPadding(t: Tensor, name: string, chunk: Chunk): Tensor {
  if (chunk.real === chunk.tokens) return t;
  const size = [...t.shape];
  if (isPattern(name)) {
    size[3] = t.shape[3]! - (chunk.tokens - chunk.real);
    size[2] = chunk.real;
  } else {
    size[1] = chunk.real;
  }
  return tf.slice(
    t,
    size.map(() => 0),
    size,
  );
}

/** A chunk's activation behind those of earlier chunks; a new tensor. */
export function behindEarlier(earlier: Tensor | undefined, part: Tensor, name: string, plan: Plan): Tensor {
  return tf.tidy(() => {
    if (!isPattern(name)) return earlier ? tf.concat([earlier, part], 1) : tf.clone(part);
    const wide = widened(part, 3, Math.max(...plan.starts) + plan.total, 0);
    return earlier ? tf.concat([earlier, wide], 2) : tf.clone(wide);
  });
}

/** The residual stream of all chunks, without padding [rows, positions, width]. */
export function joinChunks(parts: Tensor[], plan: Plan, width: number): Tensor {
  const cut = parts.map((x, c) => {
    const { tokens, real } = plan.chunks[c]!;
    return tf.slice(tf.reshape(x, [plan.rows, tokens, width]), [0, 0, 0], [plan.rows, real, width]);
  });
  return cut.length === 1 ? cut[0]! : tf.concat(cut, 1);
}

/**
 * The same with zeros where a row has no tokens: rows of a batch are as long as its longest.
 * @param name hook name, of patterns and scores [rows, heads, query, key]; else [rows, positions, ...]
 */
export function withoutPadding(t: Tensor, name: string, { lengths, total }: Pick<Plan, "lengths" | "total">): Tensor {
  if (lengths.every((length) => length === total)) return t;
  const pattern = isPattern(name);
  const real = tf.tensor2d(
    lengths.map((length) => Array.from({ length: total }, (_, position) => (position < length ? 1 : 0))),
    [lengths.length, total],
    "bool",
  );
  const shape = t.shape.map((_, axis) => (axis === 0 ? lengths.length : axis === (pattern ? 2 : 1) ? total : 1));
  return tf.where(tf.broadcastTo(tf.reshape(real, shape), t.shape), t, tf.zerosLike(t));
}
