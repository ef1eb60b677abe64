import type { ModelConfig } from "../../../backend/models/config.ts";
import { type ParameterPlace, parameterLayout } from "../../../backend/models/weights/trainable.ts";
import { makeSpec, modelConfigOf } from "../../../backend/training/spec.ts";
import type { SyntheticTask } from "../../../backend/training/task.ts";
import { type Metrics, type TrainState, train } from "../../../backend/training/train.ts";
import { tiny } from "./tiny-task.ts";

/** The tiny task, as the trainer takes tasks. */
export const task = tiny as unknown as SyntheticTask;
const EVERY_STEP = { points: 21, checkpoints: 21, spacing: "linear" } as const;

/** Trains the tiny task and keeps what was measured and saved; `stopAt` aborts when that step is measured. */
export async function trainTiny(
  raw: Record<string, unknown>,
  seeds: readonly number[] = [0],
  options: { resume?: TrainState[]; stopAt?: number; origin?: { config: ModelConfig; parameters: Float32Array } } = {},
) {
  const { stopAt, ...start } = options;
  const spec = makeSpec(task, { ...EVERY_STEP, ...raw }, { seeds: seeds.length });
  const metrics: { step: number; seed: number; values: Metrics }[] = [];
  const checkpoints: { seed: number; state: TrainState }[] = [];
  const controller = new AbortController();
  await train(
    task,
    spec,
    seeds,
    {
      onMetrics(step, seed, values) {
        metrics.push({ step, seed, values });
        if (step === stopAt) controller.abort();
      },
      async onCheckpoint(seed, state) {
        checkpoints.push({ seed, state });
      },
      signal: controller.signal,
    },
    start,
  );
  const config = modelConfigOf(spec.model, task.shape(spec.params));
  const places = parameterLayout(config, spec.model.init_range);
  const at = (step: number, seed = seeds[0]!) =>
    checkpoints.find((each) => each.seed === seed && each.state.step === step)!.state;
  return { metrics, checkpoints, config, places, at };
}

/** A tensor's numbers in a vector of parameters. */
export const valuesOf = (places: readonly ParameterPlace[], name: string, values: Float32Array) => {
  const { offset, size } = places.find((each) => each.name === name)!;
  return values.slice(offset, offset + size);
};
