import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../runtime/tf.ts";
import { isPattern } from "./hook-points.ts";
import type { ChunkPlace, Plan } from "./plan.ts";
import type { Affine } from "./stage.ts";

/** The part of an intervention that concerns a chunk, padded like the chunk. */
export function sliceAffine(affine: Affine, name: string, chunk: ChunkPlace, plan: Plan): Affine {
  const pattern = isPattern(name);
  const axis = pattern ? 2 : 1;
  const keys = plan.starts[0]! + chunk.first + chunk.tokens;
  const cut = (t: Tensor, pad: number): Tensor => {
    let out = t;
    if ((t.shape[axis] ?? 1) > 1) {
      const begin = t.shape.map(() => 0);
      const size = [...t.shape];
      begin[axis] = chunk.first;
      size[axis] = Math.min(chunk.real, t.shape[axis]! - chunk.first);
      out = tf.slice(out, begin, size);
      out = tf.pad(
        out,
        out.shape.map((n, i) => [0, i === axis ? chunk.tokens - n : 0] as [number, number]),
        pad,
      );
    }
    const width = out.shape[3] ?? 1;
    if (pattern && width > 1 && width !== keys) {
      out =
        width > keys
          ? tf.slice(out, [0, 0, 0, 0], [...out.shape.slice(0, 3), keys])
          : tf.pad(
              out,
              out.shape.map((_, i) => [0, i === 3 ? keys - width : 0] as [number, number]),
              pad,
            );
    }
    return out;
  };
  return { gain: cut(affine.gain, 1), bias: cut(affine.bias, 0) };
}

/** Drops padded positions (for patterns: queries, and keys that only padding could attend to). */
export function cutPadding(t: Tensor, name: string, chunk: ChunkPlace): Tensor {
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

/** Adds the activations of a chunk. */
export function collect(
  into: Map<string, Tensor>,
  prefix: string,
  names: readonly string[],
  made: Tensor[],
  chunk: ChunkPlace,
  plan: Plan,
): void {
  names.forEach((name, i) => {
    append(into, prefix + name, cutPadding(made[i]!, name, chunk), plan);
  });
}

/** Adds a chunk's activation behind the earlier chunks'. */
export function append(into: Map<string, Tensor>, name: string, part: Tensor, plan: Plan): void {
  const earlier = into.get(name);
  const pattern = isPattern(name);
  const joined = tf.tidy(() => {
    if (!pattern) return earlier ? tf.concat([earlier, part], 1) : tf.clone(part);
    const keys = Math.max(...plan.starts) + plan.total;
    const wide = tf.pad(part, [
      [0, 0],
      [0, 0],
      [0, 0],
      [0, keys - part.shape[3]!],
    ]);
    return earlier ? tf.concat([earlier, wide], 2) : tf.clone(wide);
  });
  part.dispose();
  earlier?.dispose();
  into.set(name, tf.keep(joined));
}

/** The residual stream of all chunks, without padding [rows, positions, width]. */
export function joinChunks(parts: Tensor[], plan: Plan, width: number): Tensor {
  const cut = parts.map((x, c) => {
    const { tokens, real } = plan.chunks[c]!;
    return tf.slice(tf.reshape(x, [plan.rows, tokens, width]), [0, 0, 0], [plan.rows, real, width]);
  });
  return cut.length === 1 ? cut[0]! : tf.concat(cut, 1);
}
