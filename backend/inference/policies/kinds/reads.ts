import type { Tensor } from "@tensorflow/tfjs";
import type { z } from "zod";
import type { ModelConfig } from "../../../models/config.ts";
import type { PolicyDefinition } from "./definition.ts";

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

/** The knowledge that a policy has of one layer of one sequence: tensors in it are kept by the joint, and freed with what takes its place. */
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
   * Brings what is known of a layer to these tokens: made of the keys held when it is first asked for, then brought up to the new
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

/** Completes a policy that chooses what new tokens read. */
export function readPolicy<S extends z.ZodObject, K extends Knowledge>(
  definition: Omit<ReadPolicy<S, K>, "chooses">,
): ReadPolicy<S> {
  return { ...definition, chooses: "reads" } as unknown as ReadPolicy<S>;
}
