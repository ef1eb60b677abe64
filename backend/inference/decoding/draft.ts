import { HeadscopeError } from "../../common/errors.ts";
import type { KvCache } from "../../models/cache/kv-cache.ts";
import type { Model } from "../../models/model.ts";
import type { Continuation } from "../continuation.ts";
import { Forwards } from "../forwards.ts";
import type { CheckedRun } from "../run/options.ts";
import type { Proposal } from "./sampling.ts";
import { DRAFTED } from "./speculative.ts";

/** The draft of prompts that are continued together: the same model on a masked cache, which holds only tokens that are certain. */
export class Draft {
  readonly #forwards: Forwards;
  readonly #cache: KvCache;
  readonly #tokens: number;

  /**
   * @param cache of the model itself, with the prompts; the draft's begins with what its heads keep of that, and nothing is read twice
   * @throws HeadscopeError (mismatch) for a mask of another model
   */
  constructor(model: Model, continuations: readonly Continuation[], options: CheckedRun, cache: KvCache) {
    const { mask, tokens = DRAFTED } = options.speculative!;
    if (cache.windows.flat().some(Boolean))
      throw new HeadscopeError("usage", "a draft can't be verified behind a prefix with streaming heads", {
        remedy: "read the prefix with all heads full",
        field: "speculative",
      });
    const masked = {
      ...options,
      mask,
      prefill: "dense" as const,
      prefix: undefined,
      cache: undefined,
      choice: undefined,
    };
    this.#forwards = new Forwards(model, continuations, masked);
    this.#cache = this.#forwards.cut(cache.fork());
    this.#tokens = tokens;
  }

  /** Bytes of its cache for one row; pages of full heads are the model's own as long as neither has written them. */
  bytes(row: number): number {
    const own = this.#cache.fork(row);
    const { bytes } = own;
    own.dispose();
    return bytes;
  }

  /** Drafts tokens behind those that there are. @returns by continuation, as many for each, and none where one of them needs only one more */
  propose(continuations: readonly Continuation[]): Proposal[][] {
    const left = Math.min(...continuations.map(({ maxTokens, all }) => maxTokens - all.length));
    const count = Math.min(this.#tokens, left - 1);
    if (count === 0) return continuations.map(() => []);
    const held = this.#cache.seen;
    const fresh = continuations.map(({ prompt, all }, r) => all.slice(held[r]! - prompt.length));
    const logits = this.#forwards.step(continuations, this.#cache, fresh);
    const proposals = continuations.map((continuation, r) => [continuation.propose(logits[r]!, [])]);
    // A streaming head can't take tokens back, so that a fork goes on with those that are not certain.
    const ahead = this.#cache.fork();
    try {
      while (proposals[0]!.length < count) {
        const last = proposals.map((row) => [row.at(-1)!.id]);
        const logits = this.#forwards.step(continuations, ahead, last);
        continuations.forEach((continuation, r) => {
          proposals[r]!.push(continuation.propose(logits[r]!, proposals[r]!));
        });
      }
    } finally {
      ahead.dispose();
    }
    return proposals;
  }

  /** Keeps these rows, in this order. */
  take(rows: readonly number[]): void {
    this.#cache.take(rows);
  }

  /** Frees its cache. */
  dispose(): void {
    this.#cache.dispose();
    this.#forwards.dispose();
  }
}
