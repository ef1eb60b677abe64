import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { modelOfParameters } from "../../../backend/models/sources/run-checkpoint.ts";
import { initialParameters } from "../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { stepScalars } from "../../../backend/training/optimiser.ts";
import { stepPlan } from "../../../backend/training/plan.ts";
import { makeSpec } from "../../../backend/training/spec.ts";
import { Evaluator, type StepPlan, Stepper } from "../../../backend/training/step.ts";
import { outputsOf } from "../../../experiments/predictions.ts";
import { normalLoss } from "../../../synthetic-tasks/families/posterior.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";

const RATE = 1e-3;
const task = tasks.get("noise-levels");
const small = { dimension: 2, examples: 5, shown: 3, n_layers: 1, n_heads: 1, d_model: 8, batch: 16 };
const spec = makeSpec(task, { ...small, optimiser: "sgd", learning_rate: RATE, clip: 0 });
const batch = task.sample(task.world(spec.params, 0), spec.params, new Random(0, 1), 16);

describe("the Gaussian loss", () => {
  let plan: StepPlan;
  let dispose: () => void;
  let parameters: Float32Array;

  beforeAll(async () => {
    await initBackend();
    ({ plan, dispose } = stepPlan(task, spec));
    parameters = initialParameters(plan.places, 3);
  });
  afterAll(() => dispose());

  it("is the mean negative logarithm of the density of the targets that count", async () => {
    const model = modelOfParameters("gaussian", plan.config, parameters.slice());
    const outputs = await outputsOf(model, batch); // [rows, positions, 2]
    model.dispose();
    const each = [...batch.weights.keys()].filter((at) => batch.weights[at] === 1);
    expect(each).toHaveLength(16 * 3);
    const losses = each.map((at) =>
      normalLoss({ mean: outputs[2 * at]!, variance: Math.exp(outputs[2 * at + 1]!) }, batch.values![at]!),
    );
    const own = tf.tensor1d(parameters);
    const { loss, accuracy } = new Evaluator(plan).evaluate(own, batch);
    own.dispose();
    expect(loss).toBeCloseTo(losses.reduce((a, b) => a + b) / losses.length, 4);
    expect(accuracy).toBeUndefined();
  });

  it("falls along its gradient by the step size times the gradient's square", () => {
    const stepper = new Stepper(plan, [[parameters]]);
    const before = stepper.step(stepScalars(spec.training, 1), [batch]);
    const after = stepper.step(stepScalars(spec.training, 2), [batch]);
    stepper.dispose();
    const foretold = RATE * before.norms[0]! ** 2;
    expect((before.losses[0]! - after.losses[0]!) / foretold).toBeGreaterThan(0.9);
    expect((before.losses[0]! - after.losses[0]!) / foretold).toBeLessThan(1.1);
  });
});
