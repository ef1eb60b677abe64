import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import type { ModelConfig } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import { requireOpenEnd } from "../../models/transformer/bottleneck.ts";
import type { NormWeights } from "../../models/weights/block-parts.ts";
import type { Matrix } from "../../models/weights/matrix.ts";
import { tf } from "../../runtime/tf.ts";
import { type Answers, logitOf, tokensIn } from "../answers.ts";

/** A vector of the stream's width: its product with what a part writes is what the part counts. */
export type Direction = Float64Array;

/** The product of two vectors of one length. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/**
 * The direction of logit(answer) - logit(wrong) behind the final norm [d_model], and the difference of the unembedding's biases;
 * of several tokens their means.
 * @throws HeadscopeError (unsupported) for a model with readout layers, whose output is no linear function of the stream
 */
export function logitDirection(
  { config, weights }: Model,
  { answer, wrong }: Answers,
): { direction: Direction; bias: number } {
  requireOpenEnd(config, "an attribution");
  if ((config.readout_hidden?.length ?? 0) > 0)
    throw new HeadscopeError(
      "unsupported",
      "layers between the stream and the logits leave nothing to attribute directly",
      {
        remedy: "patch instead, or choose a model without readout layers",
      },
    );
  const [right, other] = [tokensIn(answer), tokensIn(wrong)];
  const rows = read(() => weights.unembed.rows(tf.tensor1d([...right, ...other], "int32")));
  const width = rows.length / (right.length + other.length);
  const direction = new Float64Array(width);
  const add = (first: number, count: number, sign: number): void => {
    for (let i = first * width; i < (first + count) * width; i++) direction[i % width]! += (sign * rows[i]!) / count;
  };
  add(0, right.length, 1);
  add(right.length, other.length, -1);
  const biases = weights.unembedBias?.dataSync();
  return { direction, bias: biases ? logitOf(biases, answer) - logitOf(biases, wrong) : 0 };
}

/**
 * A direction behind a norm as one in front of it, the norm's scale held where it is: x . direction + bias is then the product
 * of the normalised x with the direction behind.
 * @param scale what the norm divides by: hook_scale of the run
 */
export function throughNorm(
  direction: Direction,
  norm: NormWeights | undefined,
  scale: number,
  { normalization_type }: Pick<ModelConfig, "normalization_type">,
): { direction: Direction; bias: number } {
  if (!norm || normalization_type === null) return { direction, bias: 0 };
  const [w, b] = [norm.w.dataSync(), norm.b?.dataSync()];
  const gained = direction.map((x, i) => x * w[i]!);
  const mean = normalization_type === "LN" ? gained.reduce((sum, x) => sum + x, 0) / gained.length : 0;
  return { direction: gained.map((x) => (x - mean) / scale), bias: b ? dot(b, direction) : 0 };
}

/** A direction of the stream as one of what a matrix reads: the product of x with it is that of the matrix's output with the direction. */
export function throughMatrix(direction: Direction, matrix: Matrix): Float32Array {
  return read(() =>
    tf.matMul(tf.tensor2d(Float32Array.from(direction), [1, direction.length]), matrix.widen() as never),
  );
}

/** The numbers of a tensor, which is freed with all that went into it. */
export function read(make: () => Tensor): Float32Array {
  const tensor = tf.tidy(make);
  const values = tensor.dataSync() as Float32Array;
  tensor.dispose();
  return values;
}
