import type { Tensor } from "@tensorflow/tfjs";
import { Random } from "../../common/random.ts";
import { MIXERS, type MixerName } from "../../common/words.ts";
import { type ModelConfig, mixerOf } from "../config.ts";
import { Matrix } from "./matrix.ts";
import { type Slot, slotsOf, type Weights, weightsOf } from "./weights.ts";

/** A trainable parameter and its place in the vector of all of them. */
export interface ParameterPlace extends Pick<Slot, "name" | "kind" | "shape"> {
  /** First number in the vector. */
  offset: number;
  size: number;
  /** Standard deviation of the initial values around 0, or the value itself where all begin alike. */
  init: { normal: number } | { constant: number };
}

/**
 * The trainable parameters of a model, one after the other in one vector: a training step then updates two or three
 * long vectors instead of dozens of small tensors.
 * Initial values are normal with standard deviation `range` / sqrt(inputs), embeddings with `range` / sqrt(d_model), norms 1, biases 0.
 * @param range default 1
 */
export function parameterLayout(config: ModelConfig, range = 1): ParameterPlace[] {
  let end = 0;
  return slotsOf(config)
    .filter(({ has }) => has)
    .map(({ name, shape, kind, initial }) => {
      const size = shape.reduce((product, length) => product * length, 1);
      const offset = end;
      end += size;
      const init = kind === "matrix" ? { normal: range / Math.sqrt(shape[1]!) } : { constant: initial };
      return { name, kind, shape, offset, size, init };
    });
}

/** The number of trainable parameters of a layout. */
export function parameterCount(places: readonly ParameterPlace[]): number {
  const last = places.at(-1)!;
  return last.offset + last.size;
}

/** `parameterCount` of a config's layout, which is not made: a config can be asked for its size before it is believed. */
export function parametersOf(config: ModelConfig): number {
  const count = (n_layers: number, mixer: MixerName[]): number =>
    parameterCount(parameterLayout({ ...config, n_layers, mixer }));
  const none = count(0, []);
  const layers = Array.from({ length: config.n_layers }, (_, layer) => mixerOf(config, layer));
  return MIXERS.reduce(
    (sum, name) => sum + layers.filter((each) => each === name).length * (count(1, [name]) - none),
    none,
  );
}

/** The values that training begins with [parameters]; the seed alone decides them. */
export function initialParameters(places: readonly ParameterPlace[], seed: number): Float32Array {
  const values = new Float32Array(parameterCount(places));
  places.forEach(({ offset, size, init }, i) => {
    if ("constant" in init) {
      values.fill(init.constant, offset, offset + size);
      return;
    }
    const random = new Random(seed, INITIAL_STREAM + i);
    for (let j = offset; j < offset + size; j++) values[j] = init.normal * random.normal();
  });
  return values;
}

/**
 * Parameters with the tensors that another model has too, by their names; the rest stays [parameters].
 * @param other parameters and their layout, whose tensors of one name have one shape
 */
export function withTensorsOf(
  places: readonly ParameterPlace[],
  values: Float32Array,
  other: { readonly places: readonly ParameterPlace[]; readonly values: Float32Array },
): Float32Array {
  const all = values.slice();
  const theirs = new Map(other.places.map((place) => [place.name, place]));
  for (const { name, offset } of places) {
    const place = theirs.get(name);
    if (place) all.set(other.values.subarray(place.offset, place.offset + place.size), offset);
  }
  return all;
}

/** Streams of a run's seed from which initial values come; steps have the streams from 0 on. */
const INITIAL_STREAM = 0xe0000000;

/**
 * A model's weights over the parameters of a layout.
 * @param value gives the tensor of a place, in its shape; of a matrix also one in another form
 */
export function weightsOver(
  config: ModelConfig,
  places: readonly ParameterPlace[],
  value: (place: ParameterPlace) => Tensor | Matrix,
): Weights {
  const tensors = places.map((place): [string, Matrix | Tensor] => {
    const tensor = value(place);
    return [place.name, place.kind === "matrix" && !(tensor instanceof Matrix) ? Matrix.dense(tensor) : tensor];
  });
  return weightsOf(config, new Map(tensors));
}
