import type { Tensor } from "@tensorflow/tfjs";
import { native } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { kernelTensor, runKernel } from "./op.ts";
import type { Places } from "./places.ts";

/** New keys and values, and where they go. */
export interface CacheWrite {
  /** [sequences · tokens, KV heads, d_head]; keys after the rotation. */
  readonly keys: Tensor;
  readonly values: Tensor;
  /** int32 scalar: the layer of `slots` that they belong to. */
  readonly layer: Tensor;
  /** int32 [layers, sequences · tokens, KV heads, 2], from `slotsOf`. */
  readonly slots: Tensor;
}

/**
 * Writes keys and values into pages.
 * @returns an int32 scalar for whatever must come after it
 * @throws HeadscopeError (usage) for pages or rows that are not there and two tokens in one slot; then nothing is written
 */
export function writeRows({ keys, values, layer, slots }: CacheWrite): Tensor {
  return kernelTensor("HsCacheWrite", {}, [keys, values, layer, slots]);
}

/**
 * Reads what spans hold, one after the other, in float32.
 * @param spans int32 [n, 4], from `spansOf` @returns keys and values [rows, d_head]; [0, 0] of no spans
 * @throws HeadscopeError (usage) for pages or rows that are not there, and pages of several kinds
 */
export function readRows(spans: Tensor): { keys: Tensor; values: Tensor } {
  const [keys, values] = runKernel("HsCacheRead", {}, [spans], 2).map((m) => native().createOutputTensor(m));
  return { keys: keys!, values: values! };
}

/** Tokens and positions on a side of a square of `blocks`. */
export const SQUARE = 64;

/** Attention of query tokens of each sequence over what its KV heads hold. */
export interface AttentionCall extends Places {
  /** [sequences · tokens, heads, d_head]; d_head from 1 to 1,024. */
  readonly q: Tensor;
  /** int32 [sequences, tokens]: a query sees positions up to its own. */
  readonly positions: Tensor;
  /** int32 scalar: the layer of `lists` that attends. */
  readonly layer: Tensor;
  /** Factor of the scores. */
  readonly scale: number;
  /** Scores become cap · tanh(score / cap); default none. */
  readonly cap?: number | undefined;
  /** Logits [heads] of a sink without a value that takes part in the softmax; default none. */
  readonly sinks?: Tensor | undefined;
  /**
   * bool [heads or 1, ceil(tokens / 64), ceil(columns / 64)], where columns are the positions up to the last query's: the squares of 64
   * positions that 64 query tokens read. Those with positions of the queries' own are always read. Default: all.
   */
  readonly blocks?: Tensor | undefined;
  /** Of a write that it must follow. */
  readonly after?: Tensor | undefined;
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
  const attrs = { scale: { float: call.scale }, cap: { float: call.cap ?? 0 }, with_pattern: pattern } as const;
  const sinks = call.sinks ?? tf.tensor1d([]);
  const blocks = call.blocks ?? tf.tensor3d([], [0, 0, 0], "bool");
  const after = call.after ?? tf.scalar(0, "int32");
  const inputs = [call.q, call.positions, call.layer, call.lists, call.spans, sinks, blocks, after];
  try {
    const [z, weights] = runKernel("HsAttend", attrs, inputs, 2).map((m) => native().createOutputTensor(m));
    if (!pattern) weights!.dispose();
    return { z: z!, pattern: weights! };
  } finally {
    if (sinks !== call.sinks) sinks.dispose();
    if (blocks !== call.blocks) blocks.dispose();
    if (after !== call.after) after.dispose();
  }
}
