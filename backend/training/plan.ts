import { Model } from "../models/model.ts";
import { parameterLayout } from "../models/weights/trainable.ts";
import { tf } from "../runtime/tf.ts";
import { modelConfigOf, type TrainSpec } from "./spec.ts";
import type { StepPlan } from "./step.ts";
import type { SyntheticTask } from "./task.ts";

/** The plan of a specification's steps and evaluations. Its tables are the caller's: `dispose` frees them. */
export function stepPlan(task: SyntheticTask, spec: TrainSpec): { plan: StepPlan; dispose(): void } {
  const { params, model, training } = spec;
  const shape = task.shape(params);
  const config = modelConfigOf(model, shape);
  const places = parameterLayout(config, model.init_range);
  const rotary = Model.rotaryOf(config);
  const tables = rotary ? [rotary.cos, rotary.sin] : [];
  return { plan: { config, places, shape, training, tables }, dispose: () => tf.dispose(tables) };
}
