import { Random } from "../../common/random.ts";
import type { ParameterPlace } from "../../models/weights/trainable.ts";
import type { ChangeParams } from "./parameters.ts";

/** Streams of a run's seed from which resets are drawn, one each; see `initialParameters` for the others. */
const RESET_STREAM = 0xd0000000;

/**
 * The number of the reset that comes between a step and the one before it, from 1 on; undefined where none does.
 * A reset follows the measurement and the checkpoint of the step before, so that both show what was learned.
 * @param step about to be made, from 1 on
 */
export function resetBefore(
  { reset_every: every, reset_until: until }: ChangeParams,
  step: number,
): number | undefined {
  const done = step - 1;
  if (every === undefined || done === 0 || done % every !== 0 || done > (until ?? done)) return undefined;
  return done / every;
}

/**
 * A seed's state with some tensors drawn anew, as initial values are, and the optimiser's vectors 0 there.
 * @param state parameters, then the optimiser's vectors @param number of the reset
 * @see Chen et al. 2023, Improving Language Plasticity via Pretraining with Active Forgetting
 */
export function resetPlaces(
  state: readonly Float32Array[],
  places: readonly ParameterPlace[],
  { seed, number }: { seed: number; number: number },
): Float32Array[] {
  const random = new Random(seed, RESET_STREAM + number);
  const [parameters, ...vectors] = state.map((values) => values.slice()) as [Float32Array, ...Float32Array[]];
  for (const { offset, size, init } of places) {
    const own = parameters.subarray(offset, offset + size);
    if ("constant" in init) own.fill(init.constant);
    else for (let i = 0; i < size; i++) own[i] = init.normal * random.normal();
    for (const vector of vectors) vector.fill(0, offset, offset + size);
  }
  return [parameters, ...vectors];
}
