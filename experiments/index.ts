import { type Registry, registry } from "../backend/common/definitions/definition.ts";
import { attentionSinkEmergence } from "./attention-sink/attention-sink-emergence.ts";
import { sinkAnatomy } from "./attention-sink/sink-anatomy.ts";
import { attentionVariants } from "./attention-variants/attention-variants.ts";
import { banditDistillation } from "./bandits/bandit-distillation.ts";
import type { Experiment } from "./base.ts";
import { earlyExit } from "./early-exit/early-exit.ts";
import { abruptLearning } from "./emergence/abrupt-learning.ts";
import { inductionEmergence } from "./emergence/induction-emergence.ts";
import { bayesianPrism } from "./families/bayesian-prism.ts";
import { forgetting } from "./families/forgetting.ts";
import { promot } from "./families/promot.ts";
import { uncertainty } from "./families/uncertainty.ts";
import { generalPurposeIcl } from "./general-purpose/general-purpose-icl.ts";
import { iclCircuit } from "./icl-circuit/icl-circuit.ts";
import { cognitiveMaps } from "./maps/cognitive-maps.ts";
import { semanticFaithfulness } from "./meaning/semantic-faithfulness.ts";
import { semanticFragments } from "./meaning/semantic-fragments.ts";
import { semanticReasoners } from "./meaning/semantic-reasoners.ts";
import { bayesianAveraging } from "./predictors/bayesian-averaging.ts";
import { learningAlgorithm } from "./predictors/learning-algorithm.ts";
import { representationImpact } from "./representation/representation-impact.ts";
import { stateSpaces } from "./state-spaces/state-spaces.ts";
import { functionVectorsExperiment } from "./steering/function-vectors.ts";
import { inContextVectorsExperiment } from "./steering/in-context-vectors.ts";
import { supportiveData } from "./supportive/supportive-data.ts";
import { tart } from "./tart/tart.ts";
import { dualProcess } from "./weights/dual-process.ts";
import { modelSoups } from "./weights/model-soups.ts";
import { pruneOrNot } from "./weights/prune-or-not.ts";
import { sequentialFunctions } from "./windows/sequential-functions.ts";

/** Every experiment that headscope has. */
export const experiments: Registry<Experiment> = registry<Experiment>("experiment", [
  inductionEmergence,
  abruptLearning,
  bayesianAveraging,
  learningAlgorithm,
  bayesianPrism,
  banditDistillation,
  forgetting,
  promot,
  uncertainty,
  generalPurposeIcl,
  sequentialFunctions,
  representationImpact,
  iclCircuit,
  dualProcess,
  modelSoups,
  pruneOrNot,
  attentionSinkEmergence,
  earlyExit,
  sinkAnatomy,
  inContextVectorsExperiment,
  functionVectorsExperiment,
  semanticReasoners,
  semanticFaithfulness,
  semanticFragments,
  stateSpaces,
  cognitiveMaps,
  attentionVariants,
  tart,
  supportiveData,
]);

export type {
  Experiment,
  ExperimentContext,
  Finding,
  MeasurementMeans,
  MeasurementPlan,
  TrainedRun,
  TrainingPlan,
} from "./base.ts";
export { compareReports, findReport, keptReports, type PresetReports, presetReports } from "./history.ts";
export {
  type ExperimentOptions,
  experimentCommand,
  experimentParameters,
  type FinishedExperiment,
  runExperiment,
} from "./run.ts";
