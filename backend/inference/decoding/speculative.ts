import { HeadscopeError } from "../../common/errors.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import { checkOptions, type Rules, whole } from "../../common/options.ts";
import type { ForwardOptions } from "../../models/forward/types.ts";

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
  mask: {
    wants: "a mask, as readMask and maskFromScores give it",
    fits: (mask) => typeof mask === "object" && mask !== null,
  },
  tokens: whole(1, MOST_DRAFTED),
};

/** The options of a run that a draft may be at odds with. */
interface SpeculativeRun {
  readonly speculative?: SpeculativeOptions | undefined;
  readonly mask?: HeadMask | undefined;
  readonly policies?: readonly unknown[] | undefined;
  readonly choice?: { readonly used: readonly unknown[] } | undefined;
  readonly useCache?: boolean | undefined;
  readonly forward?: ForwardOptions | undefined;
  readonly onStep?: unknown;
}

/** @throws HeadscopeError (usage) where nothing can be drafted or what was drafted can't be taken back */
export function checkSpeculative({
  speculative,
  mask,
  useCache = true,
  onStep,
  forward = {},
  policies = [],
  choice,
}: SpeculativeRun): void {
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
