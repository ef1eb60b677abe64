import { Random } from "../../backend/common/random.ts";
import { Model } from "../../backend/models/model.ts";
import { initialParameters, parameterLayout } from "../../backend/models/weights/trainable.ts";
import { initBackend } from "../../backend/runtime/backend.ts";
import { optimiserVectors, stepScalars } from "../../backend/training/optimiser.ts";
import { makeSpec, modelConfigOf } from "../../backend/training/spec.ts";
import { type StepPlan, Stepper } from "../../backend/training/step.ts";
import { tasks } from "../../synthetic-tasks/index.ts";

/** A training step to be timed, as test/bench/python/training_steps.py has it too. */
export interface TrainedSize {
  name: string;
  task: string;
  params: Record<string, unknown>;
  /** Largest ratio to PyTorch that meets the promise. */
  goal: number;
}

export const TRAINED: readonly TrainedSize[] = [
  { name: "induction", task: "induction", params: {}, goal: 0.6 },
  { name: "reddy", task: "gaussian-classification", params: {}, goal: 0.6 },
  {
    name: "regressor",
    task: "linear-regression",
    params: { d_model: 256, n_layers: 4, n_heads: 4, dimension: 8, examples: 20, clip: 0 },
    goal: 0.85,
  },
];

const STEPS = 20;

/** Milliseconds a step, data ready beforehand; seeds are trained together. */
export function trainer({ task: name, params }: TrainedSize, seeds: readonly number[] = [0]): () => Promise<number> {
  let stepper: Stepper | undefined;
  let done = 0;
  return async () => {
    await initBackend();
    const task = tasks.get(name);
    const { training, model, params: own } = makeSpec(task, params, { seeds: seeds.length });
    const shape = task.shape(own);
    const config = modelConfigOf(model, shape);
    const places = parameterLayout(config);
    const batches = seeds.map((seed) => task.sample(task.world(own, seed), own, new Random(seed, 1), training.batch));
    if (!stepper) {
      const rotary = Model.rotaryOf(config);
      const plan: StepPlan = { config, places, shape, training, tables: rotary ? [rotary.cos, rotary.sin] : [] };
      const states = seeds.map((seed) => {
        const values = initialParameters(places, seed);
        return [values, ...Array.from({ length: optimiserVectors(training) }, () => new Float32Array(values.length))];
      });
      stepper = new Stepper(plan, states);
      for (let i = 0; i < 5; i++) stepper.step(stepScalars(training, ++done), batches);
    }
    const began = performance.now();
    for (let i = 0; i < STEPS; i++) stepper.step(stepScalars(training, ++done), batches);
    return (performance.now() - began) / STEPS;
  };
}
