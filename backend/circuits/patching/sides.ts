import type { Tensor } from "@tensorflow/tfjs";
import type { MetricName } from "../../common/metrics.ts";
import type { PatchDirection } from "../../common/patching.ts";
import { notFinite } from "../../hooks/finite.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "../../hooks/interventions.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Affine } from "../../models/forward/types.ts";
import type { Model } from "../../models/model.ts";
import type { Interrupts } from "../batches.ts";
import { logitDifference } from "../loss.ts";
import { type InPlaceOfNumbers, intervalsOf, meanOf } from "../means.ts";
import { pairMeasure } from "../metrics/measure.ts";
import { pairDoubts, type TokenPair } from "../pairs.ts";
import { activationBytes, checkRoom } from "../room.ts";

/** One side of a pair, unpatched. */
export interface SideRun {
  readonly tokens: readonly number[];
  /** By hook name, those that were asked for [1, positions, ...]. */
  readonly activations: ReadonlyMap<string, Tensor>;
  /** The stream behind the last layer [1, positions, d_model]. */
  readonly resid: Tensor;
  readonly logits: Tensor;
}

/** Both sides of a pair. */
export interface Sides {
  readonly pair: TokenPair;
  /** The run that is patched: the corrupt one to denoise, the clean one to noise. */
  readonly base: SideRun;
  /** The run that activations are taken from. */
  readonly source: SideRun;
  /** Metric of either side. */
  readonly clean: number;
  readonly corrupt: number;
  /** logit(answer) - logit(wrong) of either side, whatever is measured. */
  readonly differences: { readonly clean: number; readonly corrupt: number };
  /** Changes of the base run, which hold in patched runs too. */
  readonly changes: ReadonlyMap<string, Affine>;
  /** The logits of the clean run, which kl is measured against. */
  readonly cleanLogits: Tensor;
  /** The metric of patched runs. @param logits [rows, 1, outputs] @returns one a row */
  measure(logits: Tensor): number[];
  dispose(): void;
}

/** The way in which a pair is patched and measured. */
export interface SideOptions {
  readonly metric: MetricName;
  readonly direction: PatchDirection;
  /** Hook names whose activations are kept of the run that is patched. */
  readonly base: readonly string[];
  /** Of the run that activations are taken from. */
  readonly source: readonly string[];
  /** Changes of both runs. Default none. */
  readonly interventions?: readonly Intervention[] | undefined;
}

/**
 * Refuses the stored runs of a pair that do not fit into memory.
 * @param beside bytes of what is held beside them
 * @throws HeadscopeError (unsupported) with what they take and what is free
 */
export function checkSides(
  { config }: Model,
  { clean, corrupt }: Pick<TokenPair, "clean" | "corrupt">,
  { base, source }: Pick<SideOptions, "base" | "source">,
  beside = 0,
): void {
  const tokens = Math.max(clean.length, corrupt.length);
  const streams = ["hook_resid_pre", "hook_resid_post"]; // of a layer while it runs
  const bytes = activationBytes(config, [...base, ...source, ...streams], tokens) + beside;
  checkRoom(
    `the activations of both prompts' runs over ${tokens} tokens${beside > 0 ? " and of a batch of patched ones" : ""}`,
    bytes,
    {
      remedy: "give a shorter prompt, or patch fewer layers or another node",
    },
  );
}

/**
 * Runs both sides of a pair.
 * @throws HeadscopeError (input) for logits that are no numbers, (unsupported) for activations that do not fit into memory
 */
export async function runSides(
  model: Model,
  pair: TokenPair,
  { metric, direction, base, source, interventions = [] }: SideOptions,
  { onLayer, turn }: Interrupts,
): Promise<Sides> {
  checkSides(model, pair, { base, source });
  const disposers: (() => void)[] = [];
  const dispose = (): void => {
    for (const each of disposers) each();
  };
  const side = async (
    tokens: number[],
    names: readonly string[],
  ): Promise<SideRun & { difference: number; changes: ReadonlyMap<string, Affine> }> => {
    const given = { rows: 1, positions: tokens.length, tokens: [tokens] };
    const changes = compileInterventions(model, interventions, given);
    disposers.push(() => disposeInterventions(changes));
    const options = { names, onLayer, interventions: changes };
    const run = await forwardInTurns(model, { tokens: [tokens], logitsAt: "last" }, options, turn);
    disposers.push(run.dispose);
    const logits = run.logits!;
    const difference = logitDifference(logits, pair)[0]!;
    if (!Number.isFinite(difference)) throw notFinite(model, "the logits", [tokens]);
    return { tokens, activations: run.activations, resid: run.resid, logits, difference, changes };
  };
  const noise = direction === "noise";
  try {
    const clean = await side(pair.clean, noise ? base : source);
    const corrupt = await side(pair.corrupt, noise ? source : base);
    const measure = pairMeasure(metric, pair, clean.logits);
    return {
      pair,
      base: noise ? clean : corrupt,
      source: noise ? corrupt : clean,
      clean: measure(clean.logits)[0]!,
      corrupt: measure(corrupt.logits)[0]!,
      changes: (noise ? clean : corrupt).changes,
      differences: { clean: clean.difference, corrupt: corrupt.difference },
      cleanLogits: clean.logits,
      measure,
      dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** Measures of one pair, or means over several. */
export interface PairMeasures<T> {
  clean: number;
  corrupt: number;
  /** The metric of each patched run; null where none was run. */
  patched: T;
}

/** Means over pairs, and of more than one pair the 95 % interval of every mean, as if the pairs were drawn independently. */
export interface PairMeans<T> extends PairMeasures<T> {
  interval?: InPlaceOfNumbers<PairMeasures<T>, [number, number]>;
  /** Doubts about the pairs, such as a clean prompt that does not prefer its answer; absent where all is well. */
  notes?: string[];
}

/** Results of several pairs as one. @param differences of the pairs' runs, for the doubts about them */
export function overPairs<R extends PairMeasures<unknown>>(
  results: readonly R[],
  differences: readonly Sides["differences"][],
): R & Pick<PairMeans<R["patched"]>, "interval" | "notes"> {
  const notes = pairDoubts(differences);
  return {
    ...meanOf(results),
    ...(results.length > 1 ? { interval: intervalsOf<PairMeasures<R["patched"]>>(results) } : {}),
    ...(notes.length > 0 ? { notes } : {}),
  };
}
