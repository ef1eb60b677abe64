import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../../../runtime/tf.ts";

/** Tokens on their way through layers, with the stream before the next of them. */
export interface TokenStates {
  /** Ascending. */
  readonly positions: readonly number[];
  /** [1, tokens, d_model] */
  readonly states: Tensor;
}

/** Tokens that wait before a layer that has not run on them yet: LazyLLM's auxiliary cache. */
export class WaitingTokens {
  #waiting: TokenStates | undefined;

  /** Positions that wait, ascending. */
  get positions(): readonly number[] {
    return this.#waiting?.positions ?? [];
  }

  /** Bytes of their states. */
  get bytes(): number {
    return 4 * (this.#waiting?.states.size ?? 0);
  }

  /**
   * Lets those go on that are wanted, and leaves the others waiting.
   * @param arriving at the layer, at least one of them wanted; stays the caller's
   * @returns of the caller's
   */
  pass(arriving: TokenStates, wanted: ReadonlySet<number>): TokenStates {
    const before = this.#waiting;
    const positions = [...arriving.positions, ...this.positions];
    const order = [...positions.keys()].sort((a, b) => positions[a]! - positions[b]!);
    const all = before ? tf.concat([arriving.states, before.states], 1) : arriving.states;
    const taken = (goes: boolean): TokenStates | undefined => {
      const rows = order.filter((i) => wanted.has(positions[i]!) === goes);
      if (rows.length === 0) return undefined;
      const states = tf.tidy(() => tf.gather(all, tf.tensor1d(rows, "int32"), 1));
      return { positions: rows.map((i) => positions[i]!), states };
    };
    const on = taken(true)!;
    this.#waiting = taken(false);
    if (before) tf.dispose([all, before.states]);
    return on;
  }

  dispose(): void {
    this.#waiting?.states.dispose();
    this.#waiting = undefined;
  }
}
