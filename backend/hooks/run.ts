import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules } from "../common/options.ts";
import { forward } from "../models/forward/forward.ts";
import type { ForwardInput, ForwardOptions } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { ActivationCache } from "./activation-cache.ts";
import type { Intervention } from "./intervention-schema.ts";
import { compileInterventions, disposeInterventions, type Sources } from "./interventions.ts";

/** Options of both runs. */
export interface RunOptions {
  /** Positions whose logits are wanted: "all" (default), "last", "none", or a list. */
  logitsAt?: NonNullable<ForwardInput["logitsAt"]>;
  /** Interventions as data; they run captured. */
  interventions?: readonly Intervention[];
  /** The activations that `with` of the interventions refers to. */
  sources?: Sources;
  /** Called before every layer; throwing from it ends the run. */
  onLayer?: (layer: number) => void;
}

/** Functions on activations: pairs of a hook name (or predicate on names) and a function of the activation and its name. */
export type Hooks = NonNullable<ForwardOptions["hooks"]>;

const RUN: Rules<RunOptions> = {
  logitsAt: ANYTHING,
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  sources: ANYTHING,
  onLayer: FUNCTION,
};

/**
 * Runs a model and keeps activations, with or without functions on them.
 * @param tokens rows of token ids [rows][positions], or one row
 * @param options.names hook names to keep or a predicate on them; default all of them
 * @param options.hooks as in `runWithHooks`; the cache has what they left
 * @returns logits [rows, positions, d_vocab] (unless none were wanted) and the cache, which knows its rows' lengths; the caller
 * disposes both
 * @throws HeadscopeError for unknown hook names and options, ids outside the vocabulary, inputs beyond the context
 */
export function runWithCache(
  model: Model,
  tokens: readonly (readonly number[])[] | readonly number[],
  options: RunOptions & { names?: readonly string[] | ((name: string) => boolean); hooks?: Hooks } = {},
): { logits?: Tensor; cache: ActivationCache } {
  checkOptions("runWithCache", options, { ...RUN, names: ANYTHING, hooks: ANYTHING });
  const { names = () => true, hooks = [], ...rest } = options;
  const { resid, logits, activations, lengths } = run(model, rowsOf(tokens), rest, { names, hooks });
  resid.dispose();
  return { ...(logits ? { logits } : {}), cache: new ActivationCache(activations, { lengths }) };
}

/**
 * Runs a model with functions on its activations: what a function returns takes the activation's place.
 * @param tokens rows of token ids [rows][positions], or one row
 * @param options.hooks pairs of a hook name (or predicate) and a function of the activation and its name; it returns a tensor of
 * the activation's shape, or nothing
 * @returns logits [rows, positions, d_vocab], which the caller disposes; undefined when none were wanted
 * @throws HeadscopeError for unknown hook names and options, ids outside the vocabulary, inputs beyond the context, and what a
 * hook returns that is no tensor of the activation's shape
 */
export function runWithHooks(
  model: Model,
  tokens: readonly (readonly number[])[] | readonly number[],
  options: RunOptions & { hooks?: Hooks } = {},
): Tensor | undefined {
  checkOptions("runWithHooks", options, { ...RUN, hooks: ANYTHING });
  const { hooks = [], ...rest } = options;
  const { resid, logits } = run(model, rowsOf(tokens), rest, { hooks });
  resid.dispose();
  return logits;
}

function run(model: Model, tokens: readonly (readonly number[])[], options: RunOptions, requests: ForwardOptions) {
  const { logitsAt = "all", interventions = [], sources = {}, onLayer } = options;
  const rest = { ...requests, ...(onLayer ? { onLayer } : {}) };
  if (interventions.length === 0) return forward(model, { tokens, logitsAt }, rest);
  const positions = Math.max(0, ...tokens.map((row) => row.length));
  const compiled = compileInterventions(model, interventions, { rows: tokens.length, positions, tokens, ...sources });
  try {
    return forward(model, { tokens, logitsAt }, { ...rest, interventions: compiled });
  } finally {
    disposeInterventions(compiled);
  }
}

/** Rows of ids, also of one row. @throws HeadscopeError (usage) for anything else, such as a text */
function rowsOf(tokens: readonly (readonly number[])[] | readonly number[]): readonly (readonly number[])[] {
  const isRow = (row: unknown): boolean => Array.isArray(row) || ArrayBuffer.isView(row);
  if (isRow(tokens) && typeof tokens[0] === "number") return [tokens as readonly number[]];
  if (Array.isArray(tokens) && tokens.every(isRow)) return tokens;
  throw new HeadscopeError("usage", "the tokens are no rows of ids", {
    remedy: "give [[id, id, ...], ...], or one row; model.tokenizer.encode(text) makes one of a text",
  });
}
