import { HeadscopeError } from "../common/errors.ts";
import { checkModel, type HeadModel, headModel } from "../common/heads/model.ts";
import { counted } from "../common/text.ts";
import type { KvCache } from "../models/cache/kv-cache.ts";
import type { Affine } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import type { Selection } from "./policies/work/selection.ts";
import type { Eviction } from "./policies/work/tokens/eviction.ts";

/**
 * Tokens that a model has read: their keys and values, and what it says of the next token. Continuations fork it, so that it can
 * be the beginning of many; whoever has it disposes it.
 */
export class Prefix {
  readonly model: HeadModel;
  readonly tokens: readonly number[];
  /** A cache of one row that holds them. */
  readonly cache: KvCache;
  /** Of the token behind them [d_vocab]. */
  readonly logits: Float32Array;
  /** The interventions that it was read under, as JSON. */
  readonly changes: string;
  /** Knowledge of a policy that goes on choosing, about its tokens; owned by the prefix, for whoever goes on under the same. */
  readonly known: Eviction | undefined;
  /** Knowledge of a policy for reads about its tokens; owned by the prefix, for whoever goes on under the same. */
  readonly learnt: Selection | undefined;
  /** Under a policy for blocks: the share of their causal attention that was read, mean over layers and heads. */
  readonly prefill: { readonly read: number } | undefined;
  readonly #under: ReadonlyMap<string, Affine> | undefined;

  /** @param parts.cache owned by the prefix from here on */
  constructor(
    model: Model,
    parts: Pick<Prefix, "tokens" | "cache" | "logits" | "changes"> &
      Partial<Pick<Prefix, "known" | "learnt" | "prefill">>,
  ) {
    this.model = headModel(model);
    this.tokens = parts.tokens;
    this.cache = parts.cache;
    this.logits = parts.logits;
    this.changes = parts.changes;
    this.known = parts.known;
    this.learnt = parts.learnt;
    this.prefill = parts.prefill;
    this.#under = model.changes;
  }

  /** True where the model itself was under interventions, of which the prefix knows no more. */
  get ofChangedModel(): boolean {
    return this.#under !== undefined;
  }

  /** Insists that its cache holds its tokens. @throws HeadscopeError (usage) where it was disposed, or somebody ran or cut it */
  checkHeld(): void {
    const { seen: lengths } = this.cache;
    if (lengths.length === 1 && lengths[0] === this.tokens.length) return;
    const what =
      lengths.length === 0
        ? "was disposed"
        : `has ${counted(this.tokens.length, "token")}, and its cache by now ${lengths.join(", ")}`;
    throw new HeadscopeError("usage", `the prefix ${what}`, {
      remedy: "read it again; dispose it last, and change a fork of its cache",
    });
  }

  /**
   * Insists that a run can go on from it.
   * @param changes interventions of the run, as JSON
   * @throws HeadscopeError (mismatch) where it is another model's, or was read under others, (usage) as `checkHeld`
   */
  check(model: Model, changes: string): void {
    this.checkHeld();
    checkModel(this, headModel(model), "the prefix");
    if (this.#under === model.changes && this.changes === changes) return;
    throw new HeadscopeError(
      "mismatch",
      "the prefix was read under other interventions than those that are to follow",
      {
        remedy: "give the same interventions and ablated heads, or read the prefix again",
      },
    );
  }

  /** Frees its keys and values; forks of them keep theirs. */
  dispose(): void {
    this.cache.dispose();
    this.known?.dispose();
    this.learnt?.dispose();
  }
}
