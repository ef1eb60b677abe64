import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules } from "../common/options.ts";
import { type BackwardOptions, backward, lowestLayer } from "../models/backward/backward.ts";
import { storeRun } from "../models/backward/stored-run.ts";
import { forward } from "../models/forward/forward.ts";
import type { Affine, ForwardInput, ForwardOptions } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { checkHookName, hookNames } from "../models/transformer/hook-points.ts";
import { tf } from "../runtime/tf.ts";
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

/** Functions on gradients: pairs of a hook name (or predicate on names) and a function of the gradient there and the name. */
export type BackwardHooks = NonNullable<BackwardOptions["hooks"]>;

/** A way back after a run: what is gone back from, and who looks on the way. */
export interface WayBack {
  /** A number made of the logits [rows, wanted positions, outputs] by tf's operations; its gradient is gone back with. */
  metric?: (logits: Tensor) => Tensor;
  /** Functions on the way back; a tensor that one returns goes on in the gradient's place. */
  backward?: BackwardHooks;
}

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
 * Runs a model with functions on its activations, and on the way back on gradients: what a function returns takes its argument's
 * place.
 * @param tokens rows of token ids [rows][positions], or one row
 * @param options.hooks pairs of a hook name (or predicate) and a function of the activation and its name; it returns a tensor of
 * the activation's shape, or nothing. On the way back those that returned any are called again, layer by layer
 * @param options.metric, options.backward a number made of the logits, and pairs of a hook name and a function of its gradient there
 * @returns logits [rows, positions, d_vocab], which the caller disposes; undefined when none were wanted
 * @throws HeadscopeError for unknown hook names and options, ids outside the vocabulary, inputs beyond the context, and what a
 * hook returns that is no tensor of the activation's shape
 */
export function runWithHooks(
  model: Model,
  tokens: readonly (readonly number[])[] | readonly number[],
  options: RunOptions & WayBack & { hooks?: Hooks } = {},
): Tensor | undefined {
  checkOptions("runWithHooks", options, { ...RUN, hooks: ANYTHING, metric: FUNCTION, backward: ANYTHING });
  const { hooks = [], metric, backward: watchers, ...rest } = options;
  if (metric && watchers) return runBack(model, rowsOf(tokens), rest, { hooks, metric, watchers });
  if (metric || watchers)
    throw new HeadscopeError("usage", `\`${metric ? "metric" : "backward"}\` is given alone`, {
      remedy: "give `metric`, a number made of the logits, and with it `backward`, the functions on its gradients",
    });
  const { resid, logits } = run(model, rowsOf(tokens), rest, { hooks });
  resid.dispose();
  return logits;
}

function run(model: Model, tokens: readonly (readonly number[])[], options: RunOptions, requests: ForwardOptions) {
  const { logitsAt = "all", onLayer } = options;
  const rest = { ...requests, ...(onLayer ? { onLayer } : {}) };
  return changed(model, tokens, options, (interventions) =>
    forward(model, { tokens, logitsAt }, { ...rest, ...(interventions.size > 0 ? { interventions } : {}) }),
  );
}

/** Calls a function with the interventions of a run, compiled. */
function changed<T>(
  model: Model,
  tokens: readonly (readonly number[])[],
  { interventions = [], sources = {} }: RunOptions,
  work: (compiled: ReadonlyMap<string, Affine>) => T,
): T {
  if (interventions.length === 0) return work(new Map());
  const positions = Math.max(0, ...tokens.map((row) => row.length));
  const compiled = compileInterventions(model, interventions, { rows: tokens.length, positions, tokens, ...sources });
  try {
    return work(compiled);
  } finally {
    disposeInterventions(compiled);
  }
}

/** A run and the way back. @returns its logits */
function runBack(
  model: Model,
  tokens: readonly (readonly number[])[],
  options: RunOptions,
  { hooks, metric, watchers }: { hooks: Hooks; metric: (logits: Tensor) => Tensor; watchers: BackwardHooks },
): Tensor {
  const { logitsAt = "all", onLayer } = options;
  if (logitsAt === "none")
    throw new HeadscopeError("usage", "a metric has no logits to be made of", { remedy: 'leave out logitsAt "none"' });
  for (const [point] of watchers) if (typeof point === "string") checkHookName(model.config, point);
  const watched = hookNames(model).filter((name) =>
    watchers.some(([point]) => (typeof point === "string" ? point === name : point(name))),
  );
  const firstLayer = Math.max(0, Math.min(model.config.n_layers, lowestLayer(watched)));
  return changed(model, tokens, options, (interventions) => {
    const stored = { firstLayer, hooks, interventions, ...(onLayer ? { onLayer } : {}) };
    const run = storeRun(model, { tokens, logitsAt }, stored);
    let start: Tensor | undefined;
    try {
      start = tf.grad((x) => metric(x))(run.logits);
      for (const _ of backward(run, start, { hooks: watchers }));
      return tf.clone(run.logits);
    } finally {
      start?.dispose();
      run.dispose();
    }
  });
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
