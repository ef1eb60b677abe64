import { HeadscopeError } from "../common/errors.ts";
import type { HeadMask } from "../common/heads/mask.ts";
import { checkOptions, type Rules, whole } from "../common/options.ts";
import type { KvCache } from "../models/cache/kv-cache.ts";
import type { Model } from "../models/model.ts";
import type { Continuation } from "./continuation.ts";
import { type CheckedRun, Forwards, type RunOptions } from "./forwards.ts";
import type { Proposal } from "./sampling.ts";

/**
 * Speculative decoding: the model with a masked cache drafts tokens, and one forward with all keys and values says which of them it
 * would have chosen (TriForce, Sun et al., 2024, with one draft; Leviathan et al., 2023).
 */
export interface SpeculativeOptions {
  /** Of the draft: its streaming heads keep sinks and recent tokens only, its ablated heads write 0. */
  mask: HeadMask;
  /** Drafted at a time, default 4, at most 16. */
  tokens?: number | undefined;
}

/** Most tokens that are drafted at a time. */
export const MOST_DRAFTED = 16;
/** Tokens drafted at a time unless it is said how many: with the one before them, as many as take hardly longer than one. */
export const DRAFTED = 4;

const OPTIONS: Rules<SpeculativeOptions> = {
  mask: { wants: "a mask, as readMask and maskFromScores give it", fits: (mask) => typeof mask === "object" },
  tokens: whole(1, MOST_DRAFTED),
};

/** @throws HeadscopeError (usage) where nothing can be drafted or what was drafted can't be taken back */
export function checkSpeculative({
  speculative,
  mask,
  useCache = true,
  onStep,
  forward = {},
  policies = [],
  choice,
}: RunOptions & Pick<CheckedRun, "choice"> & { onStep?: unknown }): void {
  if (!speculative) return;
  checkOptions("speculative", speculative, OPTIONS, ["mask"]);
  const refuse = (what: string, remedy: string) =>
    new HeadscopeError("usage", `a draft can't be verified ${what}`, { remedy, field: "speculative" });
  if (mask) throw refuse("under a mask: what streaming heads let go can't be taken back", "leave one of the two out");
  if (policies.length > 0 || choice?.used.length)
    throw refuse("under a policy: what it lets go can't be taken back", "leave one of the two out");
  if (!useCache) throw refuse("where nothing is cached", "leave useCache: false out");
  const { names = [], hooks = [], reductions = [] } = forward;
  if (onStep || typeof names === "function" || names.length + hooks.length + reductions.length > 0)
    throw refuse("where each forward is looked at", "leave onStep, names, hooks and reductions out");
}

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
    const held = this.#cache.lengths;
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
