import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "../runtime/tf.ts";
import type { TrainingParams } from "./parameters.ts";

/** The vectors that an optimiser keeps beside the parameters: Adam's two moments, momentum's one. */
export function optimiserVectors({ optimiser, momentum }: TrainingParams): number {
  if (optimiser !== "sgd") return 2;
  return momentum > 0 ? 1 : 0;
}

/** The numbers of a step that change from step to step: inputs of the captured function. */
export type StepScalars = readonly [learningRate: number, correction1: number, correction2: number];

/** @param step of the update, from 1 on */
export function stepScalars(params: TrainingParams, step: number): StepScalars {
  const { beta1, beta2 } = params;
  return [learningRateAt(params, step), 1 - beta1 ** step, 1 - beta2 ** step];
}

/**
 * The learning rate of an update: linear warm-up over the first `warmup` updates, then constant, or half a cosine down to 0.
 * @param step of the update, from 1 on
 */
export function learningRateAt({ learning_rate, warmup, schedule, steps }: TrainingParams, step: number): number {
  if (step <= warmup) return (learning_rate * step) / warmup;
  if (schedule === "constant") return learning_rate;
  const done = (step - 1 - warmup) / Math.max(1, steps - warmup);
  return (learning_rate * (1 + Math.cos(Math.PI * Math.min(1, done)))) / 2;
}

/**
 * Scales gradients down to a global norm, as PyTorch's clip_grad_norm_ does.
 * @param gradients [seeds, parameters] @param norms of its rows [seeds] @param most largest norm
 */
export function clipNorm(gradients: Tensor, norms: Tensor, most: number): Tensor {
  const scale = tf.minimum(1, tf.div(most, tf.add(norms, 1e-6)));
  return tf.mul(gradients, tf.expandDims(scale, 1));
}

/** The rule of an update, and its constants. */
export type UpdateRule = Pick<
  TrainingParams,
  "optimiser" | "weight_decay" | "beta1" | "beta2" | "adam_epsilon" | "momentum"
>;

/** Inputs of one update. All vectors are [seeds, parameters]. */
export interface OptimiserStep {
  readonly parameters: Tensor;
  readonly gradients: Tensor;
  /** The optimiser's vectors. */
  readonly state: readonly Tensor[];
  /** Learning rate and Adam's bias corrections [3]. */
  readonly scalars: Tensor;
}

/**
 * One update, the same as PyTorch's Adam, AdamW and SGD.
 * @returns the parameters, then the optimiser's vectors
 * @see Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2
 */
export function update(params: UpdateRule, { parameters, gradients, state, scalars }: OptimiserStep): Tensor[] {
  const { optimiser, weight_decay, beta1, beta2, adam_epsilon, momentum } = params;
  const [rate, correction1, correction2] = [0, 1, 2].map((i) => tf.reshape(tf.slice(scalars, [i], [1]), []));
  const decoupled = optimiser === "adamw";
  const g = weight_decay > 0 && !decoupled ? tf.add(gradients, tf.mul(parameters, weight_decay)) : gradients;
  if (optimiser === "sgd") {
    if (momentum === 0) return [tf.sub(parameters, tf.mul(g, rate!))];
    const velocity = tf.add(tf.mul(state[0]!, momentum), g);
    return [tf.sub(parameters, tf.mul(velocity, rate!)), velocity];
  }
  const first = tf.add(tf.mul(state[0]!, beta1), tf.mul(g, 1 - beta1));
  const second = tf.add(tf.mul(state[1]!, beta2), tf.mul(tf.square(g), 1 - beta2));
  const scale = tf.add(tf.sqrt(tf.div(second, correction2!)), adam_epsilon);
  const step = tf.div(tf.mul(first, tf.div(rate!, correction1!)), scale);
  const decayed =
    decoupled && weight_decay > 0 ? tf.mul(parameters, tf.sub(1, tf.mul(rate!, weight_decay))) : parameters;
  return [tf.sub(decayed, step), first, second];
}
