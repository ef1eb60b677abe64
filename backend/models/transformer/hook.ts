import type { Tensor } from "@tensorflow/tfjs";

/**
 * The hook points of a block: called with an activation's name inside the block and the activation, a hook returns what the
 * forward goes on with. `wants` tells whether anybody asked for a name, for the activations that cost extra; `changes` whether
 * anybody may put something else there. `settle` puts right what was changed, before anybody is handed it.
 */
export interface Hook {
  (name: string, activation: Tensor, settle?: (changed: Tensor) => Tensor): Tensor;
  wants(name: string): boolean;
  changes(name: string): boolean;
}

/** Hook points where nobody looks. */
export const UNHOOKED: Hook = Object.assign((_: string, activation: Tensor) => activation, {
  wants: () => false,
  changes: () => false,
});
