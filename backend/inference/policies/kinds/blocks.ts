import type { Tensor } from "@tensorflow/tfjs";
import type { z } from "zod";
import type { ModelConfig } from "../../../models/config.ts";
import type { ModelDescription } from "../../../models/sources/source.ts";
import type { SquareGrid, Squares } from "../prompt/squares.ts";
import type { PolicyDefinition } from "./definition.ts";

/** One layer's attention within a prompt, just before it happens. Tensors are made when first asked for. */
export interface PromptView extends SquareGrid {
  readonly config: ModelConfig;
  readonly layer: number;
  /** After the rotation [heads, tokens, d_head]. */
  readonly queries: Tensor;
  /** Those of the last tokens [heads, count, d_head], which cost less than all. @param count at most all */
  readonly lastQueries: (count: number) => Tensor;
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

/** Tells whether the queries of a square read a column of keys. @param own column of the square's own positions */
export type ColumnRule = (column: number, own: number) => boolean;

/** Columns that a layer holds, where some are let go; a column that a square does not read no later one reads. */
export type HeldColumns = (config: ModelConfig, layer: number) => ColumnRule | undefined;

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
  /**
   * Columns of 64 positions that new tokens read in a layer; the others are freed at the prompt's end and as tokens come. Default: all
   * are held, and read.
   */
  holds?(params: z.output<S>): HeldColumns | undefined;
}
