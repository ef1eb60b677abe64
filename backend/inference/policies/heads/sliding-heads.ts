import type { Tensor } from "@tensorflow/tfjs";
import type { KvCache } from "../../../models/cache/kv-cache.ts";
import { survives } from "../../../models/cache/window.ts";
import type { Window } from "../../../models/transformer/attention.ts";
import { tf } from "../../../runtime/tf.ts";
import type { HeadChoice } from "../kinds/heads.ts";

/** Tokens of the context for each token of the smallest window: 128k for the 4,000 of RazorAttention. */
const CONTEXT = 32;

/** Sums of the keys and values that one KV head has let go [2, d_head], and their number. */
interface Gone {
  readonly sums: Tensor;
  readonly count: number;
}

/**
 * Streaming heads of one sequence, whose windows are as long as its prompt asks, and slide from its end on; a row stands for what has
 * gone, where that is asked for.
 */
export class SlidingHeads {
  readonly #heads: readonly { readonly layer: number; readonly head: number }[];
  readonly #compensation: boolean;
  readonly #window: Window;
  readonly #gone = new Map<string, Gone>();

  /**
   * @param windows by layer and KV head, of the heads that stream
   * @param extent tokens of the prompt, and positions of the model
   */
  constructor(
    windows: readonly (readonly (Window | undefined)[])[],
    { least, part, compensation }: NonNullable<HeadChoice["slides"]>,
    { tokens, context }: { tokens: number; context: number },
  ) {
    this.#heads = windows.flatMap((row, layer) => row.flatMap((window, head) => (window ? [{ layer, head }] : [])));
    this.#compensation = compensation;
    const recent = Math.max(least ?? Math.ceil(context / CONTEXT), Math.round(tokens * part));
    this.#window = { sink: windows.flat().find((window) => window)?.sink ?? 0, recent };
  }

  /** Lets go what lies outside of the windows of a row's token at position `end` - 1: one that is held already, or comes next. */
  slide(cache: KvCache, row: number, end: number): void {
    for (const { layer, head } of this.#heads) {
      const held = cache.positions(layer, row, head);
      const gone = held.filter((position) => !survives(position, end, this.#window));
      if (gone.length === 0) continue;
      if (this.#compensation) this.#add(cache, { layer, row, head }, gone);
      cache.drop(layer, row, head, gone);
    }
  }

  /** Frees the sums. */
  dispose(): void {
    for (const { sums } of this.#gone.values()) sums.dispose();
    this.#gone.clear();
  }

  /** Counts rows that are to go, and puts the means of all that have gone into the head. */
  #add(
    cache: KvCache,
    { layer, row, head }: { layer: number; row: number; head: number },
    gone: readonly number[],
  ): void {
    const key = `${layer} ${head}`;
    const before = this.#gone.get(key);
    const count = (before?.count ?? 0) + gone.length;
    const sums = tf.tidy(() => {
      const { keys, values } = cache.readAt({ layer, row, head }, gone);
      const own = tf.stack([tf.sum(keys, 0), tf.sum(values, 0)]);
      return tf.keep(before ? tf.add(before.sums, own) : own);
    });
    before?.sums.dispose();
    this.#gone.set(key, { sums, count });
    tf.tidy(() => {
      const [k, v] = tf.unstack(tf.div(sums, count)).map((t) => tf.reshape(t, [1, 1, -1])) as [Tensor, Tensor];
      cache.head(layer, row, head).setSummary({ key: k, value: v, weight: count });
    });
  }
}
