import type { HeadMask } from "../../common/heads/mask.ts";
import { ANYTHING, FUNCTION, oneOf, type Rules, YES_OR_NO } from "../../common/options.ts";
import {
  ACTIVATIONS,
  type Activations,
  CACHE_KINDS,
  type CacheKind,
  PREFILLS,
  type Prefill,
} from "../../common/words.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import type { Sources } from "../../hooks/interventions.ts";
import type { ForwardOptions, ForwardResult } from "../../models/forward/types.ts";
import type { Turn } from "../../runtime/turn.ts";
import type { SpeculativeOptions } from "../decoding/speculative.ts";
import type { PolicyChoice, PolicyRequest } from "../policies/choice.ts";
import type { PromptReadListener } from "../policies/prompt/reader.ts";
import { Prefix } from "../prefix.ts";

/** The way of prompts through a model, the same for all that are continued together. */
export interface RunOptions {
  /** Its streaming heads keep the mask's sink and recent tokens only, its ablated heads write 0; default all heads are full. */
  mask?: HeadMask | undefined;
  /** Reach of the mask's windows: during the prompt too ("masked", as DuoAttention), or from the first new token on ("dense"). */
  prefill?: Prefill | undefined;
  /** Ways to hold less, each with its parameters: heads are chosen before the tokens in them. */
  policies?: readonly PolicyRequest[] | undefined;
  /** Interventions as data, in every forward. Their positions are those of the sequence: the prompt, then the new tokens. */
  interventions?: readonly Intervention[] | undefined;
  /** Activations that `with` of the interventions refers to. */
  sources?: Sources | undefined;
  /** False runs the whole sequence again for every token instead of caching keys and values. Default true. */
  useCache?: boolean | undefined;
  /** Form of the cached keys and values, default "f32" or the prefix's own; the narrower ones need the kernels. */
  cache?: CacheKind | undefined;
  /** "8bit" rounds the vectors that packed weights are multiplied with, which needs the kernels; default "exact". */
  activations?: Activations | undefined;
  /** Drafts tokens with the same model on a masked cache; what is chosen stays the model's own choice. */
  speculative?: SpeculativeOptions | undefined;
  /**
   * Tokens read already, before every prompt, which then may be empty; it is left as it is. A policy for tokens chooses among them
   * too, as the prompt behind them ends; one that the prefix was read under chooses no more unless it is given again.
   */
  prefix?: Prefix | undefined;
  /** Keeps what was read and written, as `prefix` of the result, to go on from there; whoever has it disposes it. Default false. */
  keep?: boolean | undefined;
  /** Activations, hooks, compiled interventions and reductions of every forward. */
  forward?: ForwardOptions | undefined;
  /** Sees what a policy for blocks lets a prompt read, by layer, just before it does; layers that are read whole are not told. */
  onPromptRead?: PromptReadListener | undefined;
  signal?: AbortSignal | undefined;
  /**
   * Lets others in between tokens, and between parts of a long prompt, which is then read part after part; one that `onStep`,
   * hooks or reductions see is read whole.
   */
  turn?: Turn | undefined;
}

/** Rules of `RunOptions`. */
export const RUN_OPTIONS: Rules<RunOptions> = {
  mask: { wants: "a mask, as readMask and maskFromScores give it", fits: isObject },
  prefill: oneOf(PREFILLS),
  policies: { wants: "a list such as [{ name, params }]", fits: Array.isArray },
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  sources: ANYTHING,
  useCache: YES_OR_NO,
  cache: oneOf(CACHE_KINDS),
  activations: oneOf(ACTIVATIONS),
  speculative: { wants: "an object with the mask of the draft", fits: isObject },
  prefix: { wants: "a prefix, as readPrefix and loadCache give it", fits: (prefix) => prefix instanceof Prefix },
  keep: YES_OR_NO,
  forward: { wants: "options of a forward", fits: isObject },
  onPromptRead: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

/** Sees a forward's result before it is freed: step 0 is the prompt. @param prompts by row of the result, the number of its prompt */
export type StepListener = (result: ForwardResult, step: number, prompts: readonly number[]) => void;

/** A prompt with the tokens that have come behind it so far. */
export interface Sequence {
  /** Its number among the prompts. */
  readonly number: number;
  readonly prompt: readonly number[];
  readonly maxTokens: number;
  /** New tokens. */
  readonly all: readonly number[];
}

/** One to which new tokens are added. */
export interface GrowingSequence extends Sequence {
  readonly all: number[];
}

/** Tokens of the parts of a prompt between which others have their turn: as many as go through a layer together. */
export const PART = 512;

/** The same with its policies checked: a choice of heads stands in the mask. */
export interface CheckedRun extends Omit<RunOptions, "policies"> {
  readonly choice?: PolicyChoice | undefined;
}
