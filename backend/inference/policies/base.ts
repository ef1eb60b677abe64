import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import type { Definition } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import type { Prefill } from "../../common/words.ts";
import type { CacheForm } from "../../models/cache/forms/form.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import type { ModelDescription } from "../../models/sources/source.ts";
import type { SquareGrid, Squares } from "./prompt/squares.ts";

/** Moments from which on tokens go: once at the end of the prompt, or there and after every new token too. */
export const MOMENTS = ["prefill", "decode"] as const;
/** One of `MOMENTS`. */
export type Moment = (typeof MOMENTS)[number];

/** Share of a prompt that goes where nobody says how much. */
export const RATIO = 0.5;

/** Parameters of every policy that chooses tokens: how many stay. */
export const budgetParameters = {
  ratio: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe(`share of the prompt's tokens that goes, ${RATIO} where no budget is given`),
  budget: z.int().min(1).optional().describe("tokens that each KV head keeps, instead of a ratio"),
};

/** Parameters of a policy that keeps as many tokens in each KV head. */
export const evenParameters = {
  ...budgetParameters,
  rerotate: z
    .boolean()
    .default(false)
    .describe("turn the keys that stay to the positions 0, 1, 2, …, and let new tokens count on from there"),
};

/** The parameter of a policy that can also go on choosing as it decodes. */
export const momentParameter = {
  when: z
    .enum(MOMENTS)
    .default("prefill")
    .describe("prefill: tokens go once, at the end of the prompt; decode: and one after every new token"),
};

/** Parameters of every policy that chooses what is read: how much of it, and from which layer on. */
export const readParameters = {
  ratio: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe(`share of the keys held that a new token does not read, ${RATIO} where no budget is given`),
  budget: z.int().min(1).optional().describe("keys that a new token reads in each KV head, instead of a ratio"),
  dense: z.int().min(0).default(0).describe("first layers in which everything is read"),
};

/** The number of last tokens that a policy for the form leaves as they are. */
export const recentParameter = {
  recent: z
    .int()
    .min(0)
    .default(128)
    .describe(
      "last tokens that stay as they are, at least: pages of 128 tokens are put into codes once they are whole",
    ),
};

/** The numbers that share a scale in a policy for the form. */
export const groupParameter = {
  group: z
    .literal([16, 32, 64, 128])
    .default(32)
    .describe("numbers that share a scale: of the keys tokens of a channel, of the values channels of a token"),
};

/** The number of first tokens that always stay. */
export const sinksParameter = { sinks: z.int().min(0).default(4).describe("first tokens that always stay") };

/** The part that the joint itself reads of the parameters of a policy that chooses tokens. */
export interface Budget {
  readonly ratio?: number | undefined;
  readonly budget?: number | undefined;
  readonly when?: Moment | undefined;
  readonly rerotate?: boolean | undefined;
}

/** Tokens that stay of a prompt, before rounding. */
export function share({ ratio = RATIO, budget }: Budget, tokens: number): number {
  return budget ?? tokens * (1 - ratio);
}

/** Tokens that each KV head keeps: of a prompt's number the share truncated, at least 1; all where nothing is to go. */
export function kept(budget: Budget, tokens: number): number {
  return budget.ratio === 0 ? Number.POSITIVE_INFINITY : Math.max(1, Math.trunc(share(budget, tokens)));
}

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
}

/** The part that policies of all kinds have. */
export interface PolicyDefinition<S extends z.ZodObject = z.ZodObject> extends Definition<S> {
  /**
   * Parameters under which it keeps, or reads, a budget; needed where these are not `ratio` and `budget` (see `atBudget`).
   * @param budget below 1 the share of what full attention holds, from 2 on tokens of each KV head
   * @param given parameters that are given beside it, as the user wrote them
   * @returns undefined where it follows no budget
   */
  at?(budget: number, given: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | undefined;
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
   * Adds a part of the prompt, or a new token, to what is known of a layer.
   * @param state what it gave before, or nothing
   * @returns of a policy that also decodes [KV heads, held], which follows the keys that go
   */
  observe?(view: LayerView, state: Tensor | undefined, params: z.output<S>): Tensor | undefined;
  /**
   * Scores of a layer's keys; the highest stay.
   * @param state what `observe` gave last
   * @returns [KV heads, held]
   */
  score(view: LayerView, params: z.output<S>, state?: Tensor): Tensor;
  /** Tokens that each KV head keeps of a prompt, by layer. Default: as many in each, as `kept` says. */
  counts?(params: z.output<S>, tokens: number, layers: number): number[];
  /** The same by layer and KV head. @param prepared what `prepare` gave */
  countsByHead?(params: z.output<S>, tokens: number, prepared: unknown): number[][];
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

/** Keys and values that others were merged into. */
export interface MergedRows {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** A choice of heads. */
export interface HeadChoice {
  /** Its streaming heads keep sink and recent tokens only. */
  readonly mask: HeadMask;
  /** Reach of the mask's windows: during the prompt too, or from its end on. */
  readonly prefill: Prefill;
  /** True where streaming heads are cut once, at the end of the prompt, and then grow. */
  readonly once: boolean;
  /** Windows that follow from the prompt's length instead of the mask's, and slide from its end on. */
  readonly slides?: {
    /** Fewest last tokens; default a part of the model's context. */
    readonly least?: number | undefined;
    /** Share of the prompt that is the window, where that is more. */
    readonly part: number;
    /** A row stands for what goes. */
    readonly compensation: boolean;
  };
}

/** A policy that chooses the KV heads that keep everything. */
export interface HeadPolicy<S extends z.ZodObject = z.ZodObject> extends PolicyDefinition<S> {
  readonly chooses: "heads";
  /** Reads what it needs, before a model is loaded. */
  choose(params: z.output<S>): Promise<HeadChoice>;
}

/** One layer's attention within a prompt, just before it happens. Tensors are made when first asked for. */
export interface PromptView extends SquareGrid {
  readonly config: ModelConfig;
  readonly layer: number;
  /** After the rotation [heads, tokens, d_head]. */
  readonly queries: Tensor;
  /** After the rotation [KV heads, start + tokens, d_head]; zeros at positions that are not held any more, as in the values. */
  readonly keys: Tensor;
  /** [KV heads, start + tokens, d_head] */
  readonly values: Tensor;
}

/** The part of a layer's causal attention that a prompt is given. */
export interface PromptRead {
  /** Of causal attention's squares, or pairs of a query and a key: mean over the heads. */
  readonly share: number;
  /** Numbers that it adds to the scores of full attention to be what it is, -1e30 where nothing is read [heads or 1, tokens, start + tokens]. */
  bias(): Tensor;
}

/** A layer's attention within a prompt as a policy has worked it out itself. */
export interface PromptAttended extends PromptRead {
  /** [tokens, heads, d_head] */
  readonly z: Tensor;
}

/** A policy that chooses what the prompt's queries read: squares of 64 queries and 64 keys. */
export interface BlockPolicy<S extends z.ZodObject = z.ZodObject, P = unknown> extends PolicyDefinition<S> {
  readonly chooses: "blocks";
  /** True where the squares follow from the numbers of tokens alone: `choose` looks at no tensor then. */
  readonly placed?: true;
  /** Reads what it needs, before a model is loaded; `choose` gets it. */
  prepare?(params: z.output<S>): Promise<P>;
  /** Insists that this suits a model. @throws HeadscopeError */
  check?(model: ModelDescription, params: z.output<S>, prepared: P | undefined): void;
  /**
   * The squares that are read in a layer, or the attention itself where a method's is none of squares. Runs in a tidy.
   * @returns undefined where all is read
   */
  choose(view: PromptView, params: z.output<S>, prepared: P | undefined): Squares | PromptAttended | undefined;
}

/** A policy that chooses the tokens of a prompt that go through the model, or through its later layers. */
export interface InputPolicy<S extends z.ZodObject = z.ZodObject> extends PolicyDefinition<S> {
  readonly chooses: "inputs";
  /** First layers that read the whole prompt once. @param layers of the model @throws HeadscopeError (usage) for more than there are */
  layers(params: z.output<S>, layers: number): number;
  /**
   * The tokens that the whole model then reads, at positions from 0 on; the last is among them. Runs in a tidy.
   * @param view of the last of these layers, with the queries of the prompt's last token
   * @param count of the tokens, by the ratio or the budget
   * @returns places in the prompt, ascending
   */
  choose(view: LayerView, count: number, params: z.output<S>): number[];
}

/** New tokens of one layer of one sequence before they attend: their own keys are the last of those held. */
export interface ReadView {
  readonly config: ModelConfig;
  readonly layer: number;
  /** Tokens of the sequence, with the new ones. */
  readonly length: number;
  /** New tokens that are looked at together: one behind the prompt, more in a part of it. */
  readonly tokens: number;
  /** New tokens that have gone through the model, with this one; 0 in the prompt. */
  readonly step: number;
  /** KV heads in view: those that hold everything. */
  readonly kvHeads: number;
  /** Keys that each of them holds. */
  readonly held: number;
  /** True where the keys are no longer at the places that they had when `learn` was asked last: some were let go. */
  readonly moved: boolean;
  /** Keys that each of them is to read, by the ratio or the budget. */
  readonly budget: number;
  /** Of the new tokens, after the rotation, of the KV heads' query heads [heads, tokens, d_head]. */
  readonly queries: Tensor;
  /** Keys of `count` places from `first` on, after the rotation [KV heads, count, d_head]; copied out of the cache at each call. */
  keysOf(first: number, count: number): Tensor;
}

/** Places among the keys held one after the other, from the first to before the end. */
export type Stretch = readonly [first: number, end: number];

/** What a policy knows of one layer of one sequence: tensors in it are kept by the joint, and freed with what takes its place. */
export type Knowledge = Readonly<Record<string, unknown>>;

/** A policy that chooses what each new token reads of the keys held; nothing is freed. */
export interface ReadPolicy<S extends z.ZodObject = z.ZodObject, K extends Knowledge = Knowledge>
  extends PolicyDefinition<S> {
  readonly chooses: "reads";
  /** In parts of the prompt: "chooses" too what they read, or "learns" of them; default it looks at new tokens alone. */
  readonly inPrompt?: "chooses" | "learns";
  /** Fewest keys that a token reads where there are as many. Default 1. */
  least?(params: z.output<S>): number;
  /**
   * What is known of a layer with these tokens: made of the keys held when it is first asked for, then brought up to the new
   * ones. Runs in a tidy.
   * @param before what it gave last; where it gives the same again, nothing is freed
   */
  learn(view: ReadView, before: K | undefined, params: z.output<S>): K;
  /**
   * The places that the tokens read, with their own; runs in a tidy.
   * @param known what `learn` gave
   * @param layers what is known of each layer that the policy works in, of later ones since the tokens before
   * @returns by KV head, ascending and apart; undefined where all is read
   */
  choose(
    view: ReadView,
    known: K,
    params: z.output<S>,
    layers: readonly (K | undefined)[],
  ): readonly (readonly Stretch[])[] | undefined;
}

/** Keys and values of a prompt as they lie in a cache, of the layers and KV heads that hold everything. */
export interface HeldPrompt {
  readonly model: Model;
  /** Tokens held: positions 0, 1, 2, … */
  readonly tokens: number;
  /** Most new tokens behind it. */
  readonly steps: number;
  /** Layers whose queries reach everything and that have KV heads in view, ascending. */
  readonly layers: readonly number[];
  /** Copied out of the cache at each call, keys after the rotation [KV heads, tokens, d_head]. */
  read(layer: number): { keys: Tensor; values: Tensor };
}

/** Keys and values of a layer as a new token reads them. */
export interface LayerRows {
  /** After the rotation [rows, KV heads, d_head]; the values alike. */
  readonly keys: Tensor;
  readonly values: Tensor;
  /** By KV head, the positions of the rows. */
  readonly positions: readonly (readonly Stretch[])[];
}

/** A prompt's keys and values in another form than rows. */
export interface Condensed {
  /** Bytes in memory. */
  readonly bytes: number;
  /** Bytes that lie outside of the cache, from where what is read is fetched. */
  readonly offloaded?: number;
  /** Rows that a new token reads in a layer; runs in a tidy. @param queries after the rotation [heads, 1, d_head] */
  restore(layer: number, queries: Tensor): LayerRows;
  dispose(): void;
}

/** A policy that chooses how keys and values are held. */
export interface FormPolicy<S extends z.ZodObject = z.ZodObject> extends PolicyDefinition<S> {
  readonly chooses: "form";
  /** Insists on parameters that go together, before a model is loaded. @throws HeadscopeError (usage) */
  check?(params: z.output<S>): void;
  /**
   * Holds the keys and values of a prompt that was read in another form; their rows are freed then, and new tokens' lie in rows as ever.
   * Runs in a tidy.
   */
  condense?(prompt: HeldPrompt, params: z.output<S>): Condensed;
  /** Last tokens of the prompt whose queries `channels` looks at. */
  window?(params: z.output<S>): number;
  /**
   * Channels of one KV head's keys that stay, at the end of the prompt, behind what goes of its tokens; the others are set to 0. Runs in
   * a tidy.
   * @param view of this KV head alone, with the last `window` queries
   * @returns ascending
   */
  channels?(view: LayerView, params: z.output<S>): number[];
  /** Codes that whole pages are put into, behind the recent tokens: at the end of the prompt, and as new tokens come. */
  form?(params: z.output<S>): CacheForm;
  /** The size of a prompt in this form, told without a run; default: nobody knows it. */
  sizeOf?(prompt: PromptShape, params: z.output<S>): FormSize;
}

/** A prompt as the size of its form depends on it. */
export interface PromptShape {
  readonly tokens: number;
  readonly config: ModelConfig;
  /** Bytes of a key and a value of a head as they come. */
  readonly rowBytes: number;
}

/** Bytes of a prompt's keys and values in all heads. */
export interface FormSize {
  readonly bytes: number;
  /** Bytes that each new token looks at. */
  readonly read: number;
}

/** A way to hold or to read less of what a model has read. */
export type Policy<S extends z.ZodObject = z.ZodObject> =
  | HeadPolicy<S>
  | BlockPolicy<S>
  | InputPolicy<S>
  | TokenPolicy<S>
  | ReadPolicy<S>
  | FormPolicy<S>;

/** A policy of one kind and its parameters, checked. */
export interface Chosen<P extends Policy> {
  readonly policy: P;
  readonly params: Record<string, unknown>;
  /** What it has read before a model was loaded. */
  readonly prepared?: unknown;
}

/** Completes a policy that chooses tokens. */
export function tokenPolicy<S extends z.ZodObject>(definition: Omit<TokenPolicy<S>, "chooses">): TokenPolicy<S> {
  return { ...definition, chooses: "tokens" };
}

/** Completes a policy that chooses what new tokens read. */
export function readPolicy<S extends z.ZodObject, K extends Knowledge>(
  definition: Omit<ReadPolicy<S, K>, "chooses">,
): ReadPolicy<S> {
  return { ...definition, chooses: "reads" } as unknown as ReadPolicy<S>;
}

/** Completes a policy that chooses how keys and values are held. */
export function formPolicy<S extends z.ZodObject>(definition: Omit<FormPolicy<S>, "chooses">): FormPolicy<S> {
  return { ...definition, chooses: "form" };
}

/** Insists on one of two parameters. @throws HeadscopeError (usage) where both are given */
export function refuseBoth(
  policy: string,
  params: Readonly<Record<string, unknown>>,
  one: string,
  other: string,
): void {
  if (params[one] === undefined || params[other] === undefined) return;
  throw new HeadscopeError("usage", `${policy} has both a ${one}, ${params[one]}, and a ${other}, ${params[other]}`, {
    remedy: "give one of them",
    field: [one, other],
  });
}

/** Rounds to the nearest whole number, halves to the even one, as Python does. */
export function halfToEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
