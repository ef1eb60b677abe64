import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import { type Extent, hooked } from "../forward/stage.ts";
import type { HookFunction } from "../forward/types.ts";
import type { Hook } from "../transformer/hook.ts";
import { activationWidth, isPattern } from "../transformer/hook-points.ts";

/** A function on the gradient at a hook point: what it returns goes on backward in the gradient's place. */
export type GradientHook = HookFunction;

/** Zeros that are added to activations: the gradient with respect to them is the gradient there. */
export interface Taps {
  /** By hook name, added to what leaves the hook point, behind every change. */
  readonly behind: ReadonlyMap<string, Tensor>;
  /** Added to what comes to the hook point, before any change. */
  readonly before: ReadonlyMap<string, Tensor>;
  /** Functions on the gradient, by hook name. */
  readonly functions: ReadonlyMap<string, readonly ((gradient: Tensor) => Tensor)[]>;
}

/** The hook points of a block with taps on them. */
export function tapped(hook: Hook, { behind, before, functions }: Taps): Hook {
  const point = (name: string, activation: Tensor, settle?: (changed: Tensor) => Tensor): Tensor => {
    const early = before.get(name);
    const left = hook(name, early ? tf.add(activation, early) : activation, settle);
    const tap = behind.get(name);
    const watchers = functions.get(name);
    if (!watchers && !tap) return left;
    const watched = watchers ? watchedGradient(left, watchers) : left;
    const sum = tap ? tf.add(watched, tap) : watched;
    return settle ? settle(sum) : sum;
  };
  const taken = (name: string): boolean => behind.has(name) || functions.has(name);
  return Object.assign(point, {
    wants: (name: string) => hook.wants(name) || taken(name),
    // Scores that nobody changes are passed by: there the tap would count for nothing.
    changes: (name: string) => hook.changes(name) || taken(name),
  });
}

/** The same tensor, whose gradient passes through functions. */
function watchedGradient(x: Tensor, functions: readonly ((gradient: Tensor) => Tensor)[]): Tensor {
  return tf.customGrad((...args: (Tensor | ((saved: Tensor[]) => void))[]) => ({
    value: tf.clone(args[0] as Tensor),
    gradFunc: (dy: Tensor) => [functions.reduce((gradient, f) => f(gradient), dy)],
  }))(x);
}

/** Functions on the gradient at a hook point that see it as activations are seen: [rows, positions, ...]. */
export function gradientFunctions(
  hooks: readonly GradientHook[],
  name: string,
  { rows, tokens }: Extent,
): ((gradient: Tensor) => Tensor)[] {
  return hooks.map((hook) => (gradient) => {
    const view = isPattern(name) ? gradient : tf.reshape(gradient, [rows, tokens, ...gradient.shape.slice(1)]);
    return tf.reshape(hooked(hook, view, name, new Array(rows).fill(0)), gradient.shape);
  });
}

/** Zeros for a hook point of a block: [rows * tokens, ...], of patterns and scores [rows, heads, query, key]. */
export function tapAt(config: ModelConfig, name: string, { rows, tokens }: Extent): Tensor {
  const width = activationWidth(config, name);
  return tf.fill(isPattern(name) ? [rows, ...width, tokens, tokens] : [rows * tokens, ...width], 0);
}

/** The part of tfjs that remembers a computation to go back through it. */
interface Tape {
  state: { activeTape: { saved?: Tensor[] }[] | null };
}

/**
 * Vector-Jacobian product: the gradient of sum(dy · f(xs)) with respect to each of xs; zeros where f does not depend on it.
 * @param dy in the shape of what f gives
 * @throws what f or a function on gradients throws; tfjs alone would leave what it remembers behind then
 */
export function vectorJacobian(f: (...xs: Tensor[]) => Tensor, xs: Tensor[], dy: Tensor): Tensor[] {
  const engine = tf.engine();
  try {
    const { grads } = engine.gradients(() => f(...xs), xs, dy, true);
    return xs.map((x, i) => grads[i] ?? tf.zerosLike(x));
  } catch (error) {
    const { state } = engine as unknown as Tape;
    tf.dispose((state.activeTape ?? []).flatMap(({ saved = [] }) => saved));
    state.activeTape = null;
    throw error;
  }
}
