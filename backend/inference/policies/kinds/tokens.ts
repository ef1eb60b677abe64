import type { Tensor } from "@tensorflow/tfjs";
import type { z } from "zod";
import type { ModelConfig } from "../../../models/config.ts";
import type { ModelDescription } from "../../../models/sources/source.ts";
import type { PolicyDefinition } from "./definition.ts";

/** One layer of one sequence as a policy sees it: those of its KV heads that hold all tokens, or what the policy has left of them. */
export interface LayerView {
  readonly config: ModelConfig;
  readonly layer: number;
  /** Tokens of the prompt. */
  readonly prompt: number;
  /** The position behind the last token: tokens of the sequence so far, where positions were not numbered anew. */
  readonly length: number;
  /** KV heads in view. */
  readonly kvHeads: number;
  /** Keys that each of them holds: the last ones are those of the queries. */
  readonly held: number;
  /** After the rotation [KV heads, held, d_head]; read when first asked for, as the values. */
  readonly keys: Tensor;
  /** As they were before the rotation [KV heads, held, d_head]. */
  readonly plainKeys: Tensor;
  /** [KV heads, held, d_head] */
  readonly values: Tensor;
  /** Of the keys [KV heads, held]. */
  readonly positions: Tensor;
  /** Queries of the last tokens, of the KV heads' query heads [heads, queries, d_head]. */
  readonly queries: Tensor;
  /** Attention of a new token [heads, 1, held], where the policy looks at nothing else of it (`attends`); then it has no `queries`. */
  readonly attention?: Tensor | undefined;
  /** The same, mean over the query heads of each KV head [KV heads, held]. */
  readonly received?: Tensor | undefined;
  /** Residual stream before the layer, of the tokens whose queries would be seen [tokens, d_model]; where `stream` asks for it. */
  readonly stream: Tensor;
  /** New tokens that have gone through the model, and most that there will be. */
  readonly step: number;
  readonly steps: number;
  /** The policy's own, which its `prepare` has read. */
  readonly prepared: unknown;
}

/** The queries that a policy looks at. */
export interface QueriesSeen {
  /** Last tokens of the prompt whose queries the scores are made of; "all" where `observe` adds up those of all tokens. */
  readonly of: number | "all";
  /** True for queries before the rotation. */
  readonly unrotated?: boolean;
  /** True for the stream before the layer in the place of queries. */
  readonly stream?: boolean;
  /** True where nothing but the attention of a new token is looked at, which the forward has worked out already. */
  readonly attends?: boolean;
}

/** A policy that chooses the tokens that stay, by scores. */
export interface TokenPolicy<S extends z.ZodObject = z.ZodObject> extends PolicyDefinition<S> {
  readonly chooses: "tokens";
  /** The parameters with those that depend on others. @throws HeadscopeError (usage) */
  complete?(params: z.output<S>): z.output<S>;
  /** Fewest tokens that a KV head can keep, those which always stay among them. Default 1. */
  least?(params: z.output<S>): number;
  /** True where `choose` goes by the scores themselves, and no budget is given. */
  decides?(params: z.output<S>): boolean;
  /** True where it looks at all KV heads of a layer, so that none can stream. */
  readonly whole?: boolean;
  /** Reads what it needs, before a model is loaded; views have it, and `countsByHead` gets it. */
  prepare?(params: z.output<S>): Promise<unknown>;
  /** Insists that it suits a model. @throws HeadscopeError */
  check?(model: ModelDescription, params: z.output<S>, prepared: unknown): void;
  /** Default: none. */
  queries?(params: z.output<S>): QueriesSeen | undefined;
  /**
   * Tokens of the parts in which a prompt is read, behind each of which it chooses among those held: later parts see what is left.
   * Default: it chooses once, at the prompt's end. Of policies with as many tokens in every KV head.
   */
  part?(params: z.output<S>): number;
  /**
   * True where it chooses in each layer before the prompt attends there: a key that goes is seen by its own token alone. The view is
   * then that of the whole prompt, with queries behind the rotation. Of policies that are `whole`.
   */
  inPrompt?(params: z.output<S>): boolean;
  /**
   * Adds a part of the prompt, or a new token, to what is known of a layer.
   * @param state what it gave before, or nothing
   * @returns of a policy that also decodes [KV heads, held], which follows the keys that go
   */
  observe?(view: LayerView, state: Tensor | undefined, params: z.output<S>): Tensor | undefined;
  /**
   * A number of each key by itself, of which `score` makes its scores: it is worked out once for each key.
   * @param keys [KV heads, keys, d_head] @returns [KV heads, keys]; undefined where the scores need none
   */
  ofKeys?(keys: Tensor, params: z.output<S>): Tensor | undefined;
  /**
   * Scores of a layer's keys; the highest stay.
   * @param state what `observe` gave last, or `ofKeys` of all keys held [KV heads, held]
   * @returns [KV heads, held]
   */
  score(view: LayerView, params: z.output<S>, state?: Tensor): Tensor;
  /** Tokens that each KV head keeps of a prompt, by layer. Default: as many in each, as `kept` says. */
  counts?(params: z.output<S>, tokens: number, layers: number): number[];
  /** The same by layer and KV head. @param prepared what `prepare` gave */
  countsByHead?(params: z.output<S>, prompt: SharedPrompt, prepared: unknown): number[][];
  /**
   * The keys that stay by their scores, where that is not the best `count` of each KV head; of policies with even counts.
   * @returns by KV head, places among the held
   */
  choose?(scores: Tensor, count: number, params: z.output<S>): number[][];
  /**
   * Keys and values that take the place of those that stay; of policies with even counts. Runs in a tidy.
   * @param stay by KV head, places among the held, ascending
   * @returns [KV heads, kept, d_head]
   */
  merge?(view: LayerView, stay: readonly (readonly number[])[], params: z.output<S>): MergedRows;
}

/** A prompt whose budget heads share. */
export interface SharedPrompt {
  readonly tokens: number;
  /** By layer and KV head, true for those that share: the others stream. */
  readonly full: readonly (readonly boolean[])[];
}

/** Keys and values that others were merged into. */
export interface MergedRows {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** Completes a policy that chooses tokens. */
export function tokenPolicy<S extends z.ZodObject>(definition: Omit<TokenPolicy<S>, "chooses">): TokenPolicy<S> {
  return { ...definition, chooses: "tokens" };
}
