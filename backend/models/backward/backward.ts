import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, type Rules, YES_OR_NO } from "../../common/options.ts";
import { tf } from "../../runtime/tf.ts";
import { countRun } from "../forward/forward.ts";
import { blockHook, checkHookName, hookNames } from "../transformer/hook-points.ts";
import { checkGradient, type LogitGradient } from "./logit-gradient.ts";
import { BackwardPass } from "./pass.ts";
import type { BackwardStep } from "./step.ts";
import type { StoredRun } from "./stored-run.ts";
import type { GradientHook } from "./taps.ts";

/** Options of a backward pass. */
export interface BackwardOptions {
  /** Hook points whose gradients are handed out: names, or a predicate on them. Default none. */
  names?: readonly string[] | ((name: string) => boolean);
  /** Hands out the gradients at the inputs of every head and MLP. Default false. */
  inputs?: boolean;
  /**
   * Functions on gradients, by hook name or predicate: what one returns goes on backward in the gradient's place. With any, the
   * pass runs op by op.
   */
  hooks?: readonly (readonly [string | ((name: string) => boolean), GradientHook])[];
}

const OPTIONS: Rules<BackwardOptions> = { names: ANYTHING, inputs: YES_OR_NO, hooks: ANYTHING };

/**
 * Goes back through a run: vector-Jacobian products of the model's end and of one block after the other, each a captured function
 * that computes its block again from the stream before it. Memory is the run's streams, and one block.
 * At patterns and scores the gradient is 0 where a query may not look, as no change there changes anything.
 * @param dLogits gradient with respect to the run's logits; it stays the caller's
 * @throws HeadscopeError (usage) for unknown hook names, or some below the layers that the run kept; (unsupported) for gradients at
 * the heads' inputs where interventions stand between those and the projections
 */
export function* backward(
  run: StoredRun,
  dLogits: LogitGradient,
  options: BackwardOptions = {},
): Generator<BackwardStep> {
  checkOptions("backward", options, OPTIONS);
  const { names = [], inputs = false, hooks = [] } = options;
  const { n_layers } = run.model.config;
  checkGradient(dLogits, run.logits);
  countRun();
  const wanted = wantedNames(run, names);
  const pass = new BackwardPass(run, functionsByName(run, hooks));
  let made: Tensor[] = [];
  let gradient: Tensor | undefined;
  const advance = (next: { gradient: Tensor; step: BackwardStep }): BackwardStep => {
    tf.dispose([...made, ...(gradient ? [gradient] : [])]);
    gradient = next.gradient;
    const { step } = next;
    made = [step.resid, ...step.gradients.values(), ...Object.values(step.inputs ?? {})];
    return step;
  };
  try {
    yield advance(pass.end(dLogits, under(wanted, "")));
    for (let layer = n_layers - 1; layer >= run.firstLayer; layer--)
      yield advance(pass.layer(layer, gradient!, { names: under(wanted, blockHook(layer, "")), inputs }));
    const embeddings = under(wanted, "hook_");
    if (embeddings.length > 0 || pass.watchesEmbeddings) yield advance(pass.embeddings(gradient!, embeddings));
  } finally {
    tf.dispose([...made, ...(gradient ? [gradient] : [])]);
    pass.dispose();
  }
}

/** Names under a prefix, without it; of the model's end under none, of its embeddings under "hook_", whole. */
function under(names: readonly string[], prefix: string): string[] {
  if (prefix === "") return names.filter((name) => name.startsWith("ln_final."));
  const own = names.filter((name) => name.startsWith(prefix));
  return prefix === "hook_" ? own : own.map((name) => name.slice(prefix.length));
}

/** Names that were asked for, each once. @throws HeadscopeError (usage) for one that the run has not */
function wantedNames(run: StoredRun, names: NonNullable<BackwardOptions["names"]>): string[] {
  if (typeof names === "function")
    return hookNames(run.model).filter((name) => names(name) && lowestLayer([name]) >= lowestOf(run));
  for (const name of names) {
    checkHookName(run.model.config, name);
    if (lowestLayer([name]) < lowestOf(run))
      throw new HeadscopeError("usage", `${name} lies before what the run keeps`, {
        remedy: run.input.resid
          ? "choose a later hook point, or run from tokens"
          : "keep streams from a lower layer on",
      });
  }
  return [...new Set(names)];
}

/** -1 where the run goes down to the embeddings, else its lowest layer. */
function lowestOf({ firstLayer, input }: StoredRun): number {
  return firstLayer === 0 && input.resid === undefined ? -1 : firstLayer;
}

/** The lowest layer of some hook names; -1 for the embeddings, infinity for the model's end. */
export function lowestLayer(names: readonly string[]): number {
  const layerOf = (name: string): number => {
    const block = /^blocks\.(\d+)\./.exec(name);
    if (block) return Number(block[1]);
    return name.startsWith("hook_") ? -1 : Number.POSITIVE_INFINITY;
  };
  return Math.min(...names.map(layerOf));
}

/** Functions on gradients by the full name of their hook points. */
function functionsByName(
  { model }: StoredRun,
  hooks: NonNullable<BackwardOptions["hooks"]>,
): Map<string, GradientHook[]> {
  const byName = new Map<string, GradientHook[]>();
  for (const [point, hook] of hooks) {
    if (typeof point === "string") checkHookName(model.config, point);
    const names = typeof point === "string" ? [point] : hookNames(model).filter(point);
    for (const name of names) byName.set(name, [...(byName.get(name) ?? []), hook]);
  }
  return byName;
}
