import type { Tensor } from "@tensorflow/tfjs";
import { native } from "../runtime/ops.ts";
import { tf } from "../runtime/tf.ts";
import { runKernel } from "./op.ts";

/** Activations of MLPs that the kernel knows, at their numbers. */
export const ACTIVATIONS = ["relu", "gelu", "gelu_new", "silu"] as const;

/** Normalisations that it knows, at their numbers. */
export const NORMS = ["none", "LN", "RMS"] as const;

/** A transformer as the kernel is told of it. */
export interface TrainedModel {
  readonly layers: number;
  readonly heads: number;
  /** Of the residual stream. */
  readonly width: number;
  /** Width of a head. */
  readonly head: number;
  /** Width of an MLP's hidden layer; 0 where there are no MLPs. */
  readonly mlp: number;
  readonly activation: (typeof ACTIVATIONS)[number];
  readonly norm: (typeof NORMS)[number];
  /** Added to the variance of a norm. */
  readonly epsilon: number;
  /** Factor of the scores. */
  readonly scale: number;
  /** True where whole heads are rotated, halves paired. */
  readonly rotary: boolean;
  /** Of a sequence. */
  readonly positions: number;
  /** Token ids, or numbers of a vector. */
  readonly inputs: number;
  readonly outputs: number;
  /** True where only the last position has an output. */
  readonly last: boolean;
  /** Widths of ReLU layers before the output. */
  readonly readout: readonly number[];
  /**
   * First numbers of the parameters' tensors in the vector of all of them, -1 where there is none: embedding, its bias, positions; of each
   * block norm, its offset, projections, output, norm before the MLP, its offset, hidden layer, its bias, layer out, its bias;
   * last norm, its offset; of each readout layer weight and bias; unembedding, its bias.
   */
  readonly places: readonly number[];
}

/** The place at which the gradient is taken, of several seeds one after the other. */
export interface GradientCall {
  /** [seeds, parameters]. */
  readonly parameters: Tensor;
  /** Token ids int32 [seeds · rows · positions], or vectors [seeds · rows · positions, inputs]. */
  readonly read: Tensor;
  /** Classes int32 [seeds · rows · scored], or values [seeds · rows · scored, outputs]. */
  readonly targets: Tensor;
  /** [seeds · rows · scored]. */
  readonly weights: Tensor;
  /** Cosines and sines [positions, head], where the model rotates. */
  readonly tables: readonly Tensor[];
}

/**
 * Losses of a batch and their gradient: cross-entropy in nats, or the mean squared error of a position.
 * @returns sums of weight · loss [seeds], sums of weights [seeds], gradient of the former [seeds, parameters]
 * @throws HeadscopeError (usage) for what does not fit
 */
export function gradient(model: TrainedModel, call: GradientCall): Tensor[] {
  return runOn("HsGradient", model, call);
}

/**
 * Losses of a batch as `gradient` has them, without a way back.
 * @returns sums of weight · loss [seeds], sums of weights [seeds], of classes sums of the weights where the right one has the largest output
 *   [seeds], zeros of values
 * @throws HeadscopeError (usage) for what does not fit
 */
export function evaluation(model: TrainedModel, call: GradientCall): Tensor[] {
  return runOn("HsEvaluation", model, call);
}

function runOn(op: string, { places, readout, ...model }: TrainedModel, call: GradientCall): Tensor[] {
  const { layers, heads, width, head, mlp, rotary, positions, inputs, outputs, last } = model;
  const attrs = {
    ...{ layers, heads, width, head, mlp, rotary, positions, inputs, outputs, last },
    activation: ACTIVATIONS.indexOf(model.activation),
    norm: NORMS.indexOf(model.norm),
    epsilon: { float: model.epsilon },
    scale: { float: model.scale },
    R: { type: call.read.dtype as "float32" },
    T: { type: call.targets.dtype as "float32" },
  } as const;
  const none = tf.tensor2d([], [0, 0]);
  const [cos = none, sin = none] = call.tables;
  const own = [tf.tensor1d([...readout], "int32"), tf.tensor1d([...places], "int32")];
  try {
    const inputs = [call.parameters, call.read, call.targets, call.weights, cos, sin, ...own];
    return runKernel(op, attrs, inputs, 3).map((output) => native().createOutputTensor(output));
  } finally {
    tf.dispose([none, ...own]);
  }
}
