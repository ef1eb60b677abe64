import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { MASKED } from "../models/transformer/attention.ts";
import { isPattern } from "../models/transformer/hook-points.ts";
import { tf } from "../runtime/tf.ts";
import { meanActivation, type ReferenceActivations, type RunShape, resampleOf } from "./reference.ts";

/** Input of a kind of intervention. */
export interface KindInput {
  /** Full hook name. */
  hook: string;
  target: RunShape;
  /** The value of `with`, broadcastable to the activation; refused with a remedy where it is missing. */
  values(): Tensor;
  /** The value of `with`, or else the run's own clean activation. */
  valuesOrOwn(): Tensor;
  /** The rows of `with: {tokens}`, or else the run's own. */
  reference(): ReferenceActivations;
  byPosition: boolean;
  seed: number;
}

/** A kind of intervention: t' = gain · t + bias at the chosen heads, positions and rows. */
export interface InterventionKind {
  /** One sentence for help and forms. */
  description: string;
  /** Why it can't go at a hook point, or undefined where it can. Default: it can go anywhere. */
  refuses?(hook: string): string | undefined;
  /** Called within a tidy. What is left out is gain 1 and bias 0. */
  make(input: KindInput): { gain?: number | Tensor; bias?: number | Tensor };
}

const ofPatternsNoRows = (hook: string): string | undefined =>
  isPattern(hook) ? "it averages or swaps positions, which patterns and scores have two of" : undefined;

/** Every kind by its name in `do`. To add one is to add an entry here. */
export const INTERVENTION_KINDS = {
  zero: {
    description: "puts 0",
    make: () => ({ gain: 0 }),
  },
  mean: {
    description:
      "puts the mean over reference rows (default: the other rows of the input), pooled over positions unless byPosition",
    refuses: ofPatternsNoRows,
    make: ({ reference, target, byPosition }) => ({ gain: 0, bias: meanActivation(reference(), target, byPosition) }),
  },
  resample: {
    description:
      "puts the activation of another row of the reference (default: the input), paired by a seeded permutation without fixed points",
    refuses: ofPatternsNoRows,
    make: ({ reference, target, seed }) => ({ gain: 0, bias: resampleOf(reference(), target, seed) }),
  },
  patch: {
    description: "puts the activation that `with` names",
    make: ({ values }) => ({ gain: 0, bias: values() }),
  },
  add: {
    description: "adds `with`",
    make: ({ values }) => ({ bias: values() }),
  },
  scale: {
    description: "multiplies by `with`",
    make: ({ values }) => ({ gain: values() }),
  },
  "knock-out": {
    description:
      "takes `keys` away from the queries at `positions`: the softmax runs over the other keys, and a query without any attends to nothing",
    refuses: (hook) => (hook.endsWith("attn.hook_attn_scores") ? undefined : "it belongs at attn.hook_attn_scores"),
    make: () => ({ gain: 0, bias: 2 * MASKED }),
  },
  "freeze-pattern": {
    description: "puts the attention pattern that `with` names (default: the clean run's own)",
    refuses: (hook) => (hook.endsWith("attn.hook_pattern") ? undefined : "it belongs at attn.hook_pattern"),
    make: ({ valuesOrOwn }) => ({ gain: 0, bias: valuesOrOwn() }),
  },
} satisfies Record<string, InterventionKind>;

export type InterventionName = keyof typeof INTERVENTION_KINDS;

/**
 * Puts `value` where `mask` is 1 and leaves the rest: what ablation and patching do in every row.
 * @param mask 0 or 1, broadcastable to the activation, of its rank @param value broadcastable to the activation, of its rank
 */
export function replaceWhere(mask: Tensor, value: Tensor | undefined): { gain: Tensor; bias: Tensor } {
  const bias = value ? tf.mul(mask, value) : tf.zeros(new Array(mask.rank).fill(1));
  return { gain: tf.sub(1, mask), bias };
}

/** @throws HeadscopeError (usage) where a kind can't go at a hook point */
export function checkKind(name: InterventionName, hook: string): void {
  const why = (INTERVENTION_KINDS[name] as InterventionKind).refuses?.(hook);
  if (why)
    throw new HeadscopeError("usage", `"${name}" can't be done at ${hook}: ${why}`, {
      remedy: "choose another hook point, or another `do`",
    });
}
