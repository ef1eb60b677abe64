import type { Tensor } from "@tensorflow/tfjs";
import { type Handle, native, RawTensor } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { runKernel } from "./op.ts";

const padded = (d: number, step: number): number => Math.ceil(d / step) * step;

/**
 * Forms of cached keys and values: float32, half precision, or codes with a scale for each 32 numbers of a row; rows are filled up
 * with zeros to 16 numbers or 32 codes. `columns` are those of a row of heads of width d.
 */
export const CACHE_KINDS = [
  { name: "f32", dtype: "float32", columns: (d: number) => padded(d, 16) },
  { name: "f16", dtype: "float16", columns: (d: number) => padded(d, 16) },
  { name: "q8", dtype: "uint8", columns: (d: number) => padded(d, 32) * (1 + 2 / 32) },
  { name: "q4", dtype: "uint8", columns: (d: number) => padded(d, 32) * (1 / 2 + 4 / 32) },
] as const;

export type CacheKind = (typeof CACHE_KINDS)[number]["name"];

/** Rows of a buffer one after the other, which hold keys and values of consecutive positions. */
export interface Span {
  readonly row: number;
  readonly position: number;
  readonly count: number;
}

/** The places of one KV head of a sequence. */
export interface HeadPlaces {
  readonly spans: readonly Span[];
  /** Last positions that a query sees, itself included; default all. */
  readonly window?: number | undefined;
  /** First positions that it sees beside its window; default 0. */
  readonly sink?: number | undefined;
  /** Last positions that a query reaches at all, itself included, in a layer of local attention; default all. */
  readonly local?: number | undefined;
}

/** Places as the kernel reads them. */
export interface Places {
  /** int32 [sequences, KV heads, 5]: first span, spans, window (0: all), sink, local (0: all). */
  readonly lists: Tensor;
  /** int32 [spans, 3]: row, position, count. */
  readonly spans: Tensor;
}

/** Writes places out for the kernel. @param heads by sequence and KV head, as many of each @returns tensors of the caller's */
export function placesOf(heads: readonly (readonly HeadPlaces[])[]): Places {
  const spans: number[] = [];
  const lists = heads.flatMap((row) =>
    row.flatMap((head) => {
      const first = spans.length / 3;
      for (const { row, position, count } of head.spans) spans.push(row, position, count);
      return [first, head.spans.length, head.window ?? 0, head.sink ?? 0, head.local ?? 0];
    }),
  );
  return {
    lists: tf.tensor3d(lists, [heads.length, heads[0]?.length ?? 0, 5], "int32"),
    spans: tf.tensor2d(spans, [spans.length / 3, 3], "int32"),
  };
}

/** Keys or values as a cache holds them. @param x [n, d] @returns [n, columns of the kind] */
export function cacheRows(kind: CacheKind, x: Tensor): Handle {
  const { number, dtype } = kindOf(kind);
  const output = runKernel("HsCacheRows", { cache: number, T: { type: dtype } }, [x])[0]!;
  return dtype === "float32" ? native().createOutputTensor(output) : new RawTensor(output.id, dtype, output.shape);
}

/** Attention of 1 to 8 query tokens of each sequence over what its KV heads hold. */
export interface AttentionCall extends Places {
  /** [sequences · tokens, heads, d_head]; d_head from 1 to 1,024. */
  readonly q: Tensor;
  /** int32 [sequences, tokens]: a query sees positions up to its own. */
  readonly positions: Tensor;
  readonly kind: CacheKind;
  /** [rows, columns of the kind]. */
  readonly keys: Handle;
  readonly values: Handle;
  /** Factor of the scores. */
  readonly scale: number;
  /** Scores become cap · tanh(score / cap); default none. */
  readonly cap?: number | undefined;
  /** Logits [heads] of a sink without a value that takes part in the softmax; default none. */
  readonly sinks?: Tensor | undefined;
}

/** z [sequences · tokens, heads, d_head]. A query that sees nothing gets zeros. @throws HeadscopeError (usage) for what does not fit */
export function attend(call: AttentionCall): Tensor {
  return run(call, false).z;
}

/**
 * `attend` with the pattern that it used.
 * @returns z, and pattern [sequences · tokens, heads, positions up to the last query's]: 0 where a head holds nothing
 */
export function attendWithPattern(call: AttentionCall): { z: Tensor; pattern: Tensor } {
  return run(call, true);
}

function run(call: AttentionCall, pattern: boolean): { z: Tensor; pattern: Tensor } {
  const { number, dtype } = kindOf(call.kind);
  const sinks = call.sinks ?? tf.tensor1d([]);
  const attrs = {
    cache: number,
    T: { type: dtype },
    scale: { float: call.scale },
    cap: { float: call.cap ?? 0 },
    with_pattern: pattern,
  } as const;
  const inputs = [call.q, call.positions, call.lists, call.spans, call.keys, call.values, sinks];
  try {
    const [z, weights] = runKernel("HsAttend", attrs, inputs, 2).map((m) => native().createOutputTensor(m));
    if (!pattern) weights!.dispose();
    return { z: z!, pattern: weights! };
  } finally {
    if (sinks !== call.sinks) sinks.dispose();
  }
}

function kindOf(kind: CacheKind): (typeof CACHE_KINDS)[number] & { number: number } {
  const number = CACHE_KINDS.findIndex(({ name }) => name === kind);
  return { ...CACHE_KINDS[number]!, number };
}
