import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { initialParameters } from "../../../../backend/models/weights/trainable.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { gradientCosines } from "../../../../backend/training/gradients/gradient-cosines.ts";
import { stepPlan } from "../../../../backend/training/plan.ts";
import { makeSpec } from "../../../../backend/training/spec.ts";
import { Evaluator } from "../../../../backend/training/step.ts";
import type { Batch } from "../../../../backend/training/task.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";

await kernelsHere();

/** Step of the differences, and the accuracy that single precision leaves them. */
const STEP = 0.02;
const NEAR = 2e-3;

const MODEL = { n_layers: 1, n_heads: 1, d_model: 4 };
/** A task of tokens; one of vectors whose last position alone counts; and a model that the kernel does not know. */
const CASES = [
  ["zipf-bigram", { context: 8, vocabulary: 8, triggers: 2, attn_only: true, ...MODEL }, "copies"],
  ["linear-regression", { dimension: 2, examples: 4, attn_only: true, ...MODEL }, "last"],
  ["zipf-bigram", { context: 8, vocabulary: 8, triggers: 2, attn_only: true, attention: "sigmoid", ...MODEL }, "copies"],
] as const; // biome-ignore format: a case a line

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

describe.each(CASES)("gradients of %s (%o)", (name, raw, split) => {
  const task = tasks.get(name);
  const spec = makeSpec(task, raw);
  const { plan, dispose } = stepPlan(task, spec);
  const parameters = initialParameters(plan.places, 5);
  const world = task.world(spec.params, 1);
  const sequences = task.sample(world, spec.params, new Random(1, 1), 3);
  const target = task.evaluations[split]!.sample(world, spec.params, new Random(1, 2), 16);
  let tensors = 0;
  beforeAll(() => {
    tensors = tf.memory().numTensors;
  });
  afterAll(() => dispose());

  /** Gradient of a batch's loss by central differences. */
  function differences(batch: Batch): number[] {
    const evaluator = new Evaluator(plan);
    const lossAt = (i: number, step: number): number => {
      const moved = parameters.slice();
      moved[i]! += step;
      const tensor = tf.tensor1d(moved);
      const { loss } = evaluator.evaluate(tensor, batch);
      tensor.dispose();
      return loss;
    };
    return Array.from(parameters, (_, i) => (lossAt(i, STEP) - lossAt(i, -STEP)) / (2 * STEP));
  }

  const row = ({ rows, tokens, inputs, classes, values, weights }: Batch, r: number): Batch => {
    const own = <T extends Int32Array | Float32Array>(all: T) => all.slice((r * all.length) / rows, ((r + 1) * all.length) / rows) as T;
    return { rows: 1, weights: own(weights), ...(tokens && { tokens: own(tokens), classes: own(classes!) }), ...(inputs && { inputs: own(inputs), values: own(values!) }) };
  };

  it("have the cosines and lengths that finite differences give, and leave no tensor", async () => {
    const found = await gradientCosines(task, spec, parameters, { sequences, target });
    expect(tf.memory().numTensors).toBe(tensors);
    const wanted = differences(target);
    for (const [r, { cosine, norm }] of found.entries()) {
      const own = differences(row(sequences, r));
      const length = Math.sqrt(dot(own, own));
      expect(Math.abs(norm / length - 1)).toBeLessThan(NEAR);
      expect(Math.abs(cosine - dot(own, wanted) / length / Math.sqrt(dot(wanted, wanted)))).toBeLessThan(NEAR);
    }
  });

  it("have the cosine 1 with themselves", async () => {
    const [one] = await gradientCosines(task, spec, parameters, { sequences: target, target: row(target, 0) });
    expect(one!.cosine).toBeCloseTo(1, 5);
  });
}); // biome-ignore format: long lines of one call
