import { type Registry, registry } from "../backend/common/definitions/definition.ts";
import { abruptLearning } from "./abrupt-learning.ts";
import { attentionSinkEmergence } from "./attention-sink/index.ts";
import type { Experiment } from "./base.ts";
import { inductionEmergence } from "./induction-emergence.ts";

/** Every experiment that headscope has. */
export const experiments: Registry<Experiment> = registry<Experiment>("experiment", [
  inductionEmergence,
  abruptLearning,
  attentionSinkEmergence,
]);

export type { Experiment, ExperimentContext, Finding, TrainedRun, TrainingPlan } from "./base.ts";
export { compareReports, findReport, keptReports } from "./history.ts";
export {
  type ExperimentOptions,
  experimentCommand,
  experimentParameters,
  type FinishedExperiment,
  runExperiment,
} from "./run.ts";
