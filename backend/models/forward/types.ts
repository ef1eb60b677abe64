import type { Tensor } from "@tensorflow/tfjs";
import type { Activations } from "../../common/words.ts";
import type { KvCache } from "../cache/kv-cache.ts";
import type { AttentionReader } from "../cache/reader.ts";
import type { PatternReduction, Window } from "../transformer/attention.ts";

/** Input of a forward: token ids, vectors, or a residual stream to go on from. */
export interface ForwardInput {
  /** Rows of token ids. Shorter rows are padded on the right, which changes nothing under the causal mask. */
  tokens?: readonly (readonly number[])[];
  /** Vectors [rows, positions, d_input] instead of tokens, for a model that reads them. */
  inputs?: Tensor;
  /** Residual stream before `startLayer` [rows, positions, d_model], instead of tokens. */
  resid?: Tensor;
  /** Position of each token by row, below n_ctx; default counting on from what the cache holds. */
  positions?: readonly (readonly number[])[];
  /**
   * By row and token, ascending positions among those that the cache counts already, which no layer that runs holds yet; also the
   * tokens' positions. Default: behind all that it holds, which are counted once the forward has run.
   */
  places?: readonly (readonly number[])[];
  /**
   * True runs a model with its soft prompt, and says that positions are counted from the prompt's first vector on: activations and logits
   * have its positions before those of the tokens. A model that has one is refused otherwise.
   */
  softPrompt?: boolean;
  /** By row and token, 1 for keys to attend to, 0 for keys to leave out. Not with a cache. */
  keyMask?: readonly (readonly number[])[];
  /** Keys and values of earlier tokens; this call's are appended. */
  cache?: KvCache;
  /** First layer to run, default 0. */
  startLayer?: number;
  /** Layer before which to stop, default n_layers; stopping earlier gives no logits. */
  stopLayer?: number;
  /**
   * Positions whose logits are wanted: all (default), the last one of each row, none, or those listed, negative ones counted from
   * each row's own end.
   */
  logitsAt?: "all" | "last" | "none" | readonly number[];
  /** By layer and KV head, the window of a streaming head. Without a cache only; a cache has its own. */
  windows?: readonly (readonly (Window | undefined)[])[];
}

/** Options of a forward: activations to return, hooks, interventions, reductions of the patterns. */
export interface ForwardOptions {
  /** Activations to hand out: hook names, or a predicate on them. Nothing else is kept. */
  names?: readonly string[] | ((name: string) => boolean);
  /** Functions on activations, by hook name or predicate. With any, the forward runs op by op. */
  hooks?: readonly (readonly [string | ((name: string) => boolean), HookFunction])[];
  /** Interventions by hook name, as `compileInterventions` makes them; they run captured. */
  interventions?: ReadonlyMap<string, Affine>;
  /** Functions to compute of every pattern inside its block; of rows of one length. */
  reductions?: readonly PatternReduction[];
  /** False runs everything op by op (for comparison). Default true. */
  captured?: boolean;
  /**
   * "8bit" rounds what is multiplied with packed codes where a pass has up to 32 tokens, as llama.cpp does: faster, and not exact.
   * Default "exact". Without kernels, and with weights in plain numbers, all is exact.
   */
  activations?: Activations;
  /** Chooses what attention reads over a cache. Default: all that it holds. */
  reader?: AttentionReader;
  /** Called before every layer; throwing from it ends the forward (progress and cancelling). */
  onLayer?: (layer: number) => void;
}

/**
 * Results of a forward; the caller disposes them, all at once by `dispose`. Rows of different lengths are filled up with zeros:
 * of row r the first `lengths[r]` positions are its own.
 */
export interface ForwardResult {
  /** Tokens of each row in this call. */
  lengths: readonly number[];
  /** [rows, wanted positions, outputs]; absent where none were wanted or the forward stopped early. */
  logits?: Tensor;
  /** Residual stream after the last layer that ran [rows, positions, d_model]. */
  resid: Tensor;
  /** By hook name: [rows, positions, ...], patterns and scores [rows, heads, query, key]. */
  activations: Map<string, Tensor>;
  /** By the reduction's name, one tensor a layer: sums [rows, heads], maps [rows, heads, query]. */
  reductions: Map<string, Tensor[]>;
  dispose(): void;
}

/**
 * An intervention on one hook point as the forward computes it: t' = gain · t + bias, each broadcast to the activation.
 * Where the axis of positions (of patterns: queries) or keys is longer than 1 it stands for the positions of the sequence from 0
 * on, whatever a cache holds already; positions beyond it are left as they are.
 */
export interface Affine {
  gain: Tensor;
  bias: Tensor;
  /** Of frozen and patched patterns: queries that there are; running others is refused. */
  queries?: number;
  /** The intervention done at the same point before it, where the two stand for different positions. */
  before?: Affine;
}

/**
 * A user's function on an activation: returns what takes its place, or nothing. The tensor is freed after the call unless kept.
 * @param starts by row, the position of the sequence at which the activation begins: not 0 over a cache, and in the later parts
 * of an input of more than 512 tokens
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a hook that only looks returns nothing
export type HookFunction = (activation: Tensor, name: string, starts: readonly number[]) => Tensor | undefined | void;
