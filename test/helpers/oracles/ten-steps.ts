import { expect } from "vitest";
import type { ModelConfig } from "../../../backend/models/config.ts";
import { Model } from "../../../backend/models/model.ts";
import type { GradientPath } from "../../../backend/models/sources/run-checkpoint.ts";
import { parameterLayout } from "../../../backend/models/weights/trainable.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { WeightChanges } from "../../../backend/training/changes/changes.ts";
import { optimiserVectors, stepScalars } from "../../../backend/training/optimiser.ts";
import { trainingParameters } from "../../../backend/training/parameters.ts";
import { Stepper } from "../../../backend/training/step.ts";
import type { Batch, TaskShape } from "../../../backend/training/task.ts";
import {
  inOracleOrder,
  largestDistance,
  type OracleParameter,
  TINY_SHAPE,
  tinyBatch,
  unpacked,
} from "./tiny-transformer.ts";

/** Ten steps of Adam as PyTorch made them. */
export interface OracleSteps {
  parameters: OracleParameter[];
  /** Losses before each step [10]. */
  losses: number[];
  /** Gradients before the first and before the last step, of the parameters that are trained. */
  grads: string[];
  /** All parameters after the last step. */
  final: string;
}

/** A run of a tiny transformer. */
export interface TinyRun {
  config: ModelConfig;
  /** Training parameters beside the rows of a batch and the number of steps. */
  training?: Record<string, unknown>;
  /** Shape of the task; default every next token. */
  shape?: TaskShape;
}

/** A run whose ten steps PyTorch made too. */
export interface OracleRun extends TinyRun {
  /** Initial parameters [parameters]. */
  start: Float32Array;
  /** The batch of a step, from 0 on; default `tinyBatch`. */
  batch?: (step: number) => Batch;
  /** Tells whether the run trains one of the oracle's parameters; default all. */
  isTrained?: (name: string) => boolean;
  /** The path that the gradients are computed by. */
  path: GradientPath;
}

function stepperOf({ config, training: own, shape = TINY_SHAPE }: TinyRun, start: Float32Array, path: GradientPath) {
  const training = trainingParameters.parse({ batch: 3, steps: 10, ...own });
  const rotary = Model.rotaryOf(config);
  const tables = rotary ? [rotary.cos, rotary.sin] : [];
  const places = parameterLayout(config);
  const { trained } = new WeightChanges({ config, places, training }, [0]);
  const vectors = Array.from({ length: optimiserVectors(training) }, () => new Float32Array(start.length));
  const stepper = new Stepper({ config, places, shape, tables, training }, [[start, ...vectors]], path, trained);
  const dispose = () => {
    stepper.dispose();
    tf.dispose(tables);
  };
  return { stepper, training, dispose };
}

/** The gradient of a batch's loss at a point: the parameters less a step of plain descent at rate 1; 0 where they stay. */
export function gradientAt(
  run: TinyRun,
  parameters: Float32Array,
  batch: Batch,
  path: GradientPath = "kernel",
): Float32Array {
  const plain = { ...run, training: { ...run.training, optimiser: "sgd", learning_rate: 1 } };
  const { stepper, dispose } = stepperOf(plain, parameters, path);
  stepper.step([1, 1, 1], [batch]);
  const after = stepper.states()[0]![0]!;
  dispose();
  return parameters.map((p, i) => p - after[i]!);
}

/**
 * Expects of ten steps what PyTorch has, each number to 1e-5: every loss, the gradients before the first and the last step, and the
 * parameters in the end; and that parameters that are not trained have no gradient and stay, and no tensor is left.
 */
export function expectTenSteps(run: OracleRun, oracle: OracleSteps): void {
  const { config, start, batch = tinyBatch, isTrained = () => true, path } = run;
  const before = tf.memory().numTensors;
  const theirs = (vector: Float32Array) => inOracleOrder(vector, config, oracle.parameters);
  const trained = oracle.parameters.flatMap(({ name, shape }) =>
    new Array<boolean>(shape.reduce((a, b) => a * b, 1)).fill(isTrained(name)),
  );
  const { stepper, training, dispose } = stepperOf(run, start, "kernel");
  const parameters = () => stepper.states()[0]![0]!;
  expect(stepper.path).toBe(path);
  expect(oracle.losses.length).toBe(10);
  oracle.losses.forEach((expected, step) => {
    if (step === 0 || step === 9) {
      const gradient = theirs(gradientAt(run, parameters(), batch(step)));
      const own = gradient.filter((_, i) => trained[i]);
      expect(largestDistance(own, unpacked(oracle.grads[step === 0 ? 0 : 1]!))).toBeLessThan(1e-5);
      expect(gradient.every((x, i) => trained[i] || x === 0)).toBe(true);
    }
    const { losses } = stepper.step(stepScalars(training, step + 1), [batch(step)]);
    expect(Math.abs(losses[0]! - expected)).toBeLessThan(1e-5);
  });
  const [first, last] = [theirs(start), theirs(parameters())];
  expect(largestDistance(last, unpacked(oracle.final))).toBeLessThan(1e-5);
  expect(last.every((x, i) => trained[i] || x === first[i])).toBe(true);
  dispose();
  expect(tf.memory().numTensors).toBe(before);
}
