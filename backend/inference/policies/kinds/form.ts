import type { Tensor } from "@tensorflow/tfjs";
import type { z } from "zod";
import type { CacheForm } from "../../../models/cache/forms/form.ts";
import type { ModelConfig } from "../../../models/config.ts";
import type { Model } from "../../../models/model.ts";
import type { ModelDescription } from "../../../models/sources/source.ts";
import type { PolicyDefinition } from "./definition.ts";
import type { Stretch } from "./reads.ts";
import type { LayerView } from "./tokens.ts";

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
  /** Layers of the prompt that are taken over together, one group after the other. */
  readonly groups: readonly (readonly number[])[];
  /** Takes over the keys and values of a group, whose rows are freed then; runs in a tidy. */
  take(group: readonly number[]): void;
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
  /** Reads what it needs, before a model is loaded; `suits` and `form` get it. */
  prepare?(params: z.output<S>): Promise<unknown>;
  /** Insists that this suits a model. @throws HeadscopeError */
  suits?(model: ModelDescription, params: z.output<S>, prepared: unknown): void;
  /**
   * Begins to hold the keys and values of a prompt that was read in another form, into which they go group after group, others having
   * their turn between; new tokens' lie in rows as ever.
   */
  condense?(prompt: HeldPrompt, params: z.output<S>): Condensed;
  /** Last tokens of the prompt whose queries `channels` looks at. */
  window?(params: z.output<S>): number;
  /**
   * Channels of one full KV head's keys that stay, at the end of the prompt, behind what goes of its tokens; the others are 0 from then
   * on. Runs in a tidy.
   * @param view of this KV head alone, with the last `window` queries
   * @returns ascending
   */
  channels?(view: LayerView, params: z.output<S>): number[];
  /** Channels that each key of the prompt is held in then: as many as `channels` names where the others are freed, all where they are held as zeros. */
  keyChannels?(config: ModelConfig, params: z.output<S>): number;
  /** Codes that whole pages are put into, behind the recent tokens: at the end of the prompt, and as new tokens come. */
  form?(params: z.output<S>, prepared: unknown): CacheForm;
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

/** Completes a policy that chooses how keys and values are held. */
export function formPolicy<S extends z.ZodObject>(definition: Omit<FormPolicy<S>, "chooses">): FormPolicy<S> {
  return { ...definition, chooses: "form" };
}
