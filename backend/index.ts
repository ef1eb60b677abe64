/**
 * headscope as a library: what a script imports.
 * Tensors are TensorFlow.js tensors; shapes stand in the doc comments, rows first. docs/library.md lists it all.
 */

export { type Experiment, experiments } from "../experiments/index.ts";
export { gateMethods } from "../probes/gates/index.ts";
export { gateScores, type TrainGatesOptions, trainGates } from "../probes/gates/train.ts";
export { probe, probeMany, probes } from "../probes/index.ts";
export { needleTest } from "../probes/needle.ts";
export { type TextQuestion, type TextScore, type TextScoresOptions, textScores } from "../probes/text-scores.ts";
export {
  answerScore,
  type CaseOptions,
  type ContextCase,
  type ContextTask,
  contextTasks,
  type DrawnCase,
  drawCase,
  greedyScore,
} from "../synthetic-tasks/contexts/index.ts";
export { tasks } from "../synthetic-tasks/index.ts";
export {
  type ImpliedWeights,
  impliedWeights,
  type Learner,
  learners,
  type OnlineLearner,
  predictPrompts,
  type RegressionPrompts,
} from "../synthetic-tasks/learners/index.ts";
export { type PairSample, pairTasks, samplePairs } from "../synthetic-tasks/pairs/index.ts";
export { probeTargets, type TaskProbeOptions, type TrainedTask, taskProbe } from "../synthetic-tasks/task-probe.ts";
export { ablate, ablateSweep } from "./circuits/ablation/ablate.ts";
export { type AblatedEach, ablateEach } from "./circuits/ablation/each.ts";
export type { AnswerSet } from "./circuits/answers.ts";
export { type AttributeOptions, type Attribution, attribute } from "./circuits/attribution/direct.ts";
export { type Lens, type LensOptions, lens } from "./circuits/attribution/lens.ts";
export { type TunedLens, type TunedLensOptions, tuneLens } from "./circuits/attribution/tuned-lens.ts";
export { type ContextOptions, type HeadContexts, headContexts } from "./circuits/corpus/contexts.ts";
export { type FindCircuitOptions, findCircuit } from "./circuits/edges/find-circuit.ts";
export {
  type CircuitCurveOptions,
  type CircuitRunOptions,
  circuitCurve,
  runCircuit,
} from "./circuits/edges/run-circuit.ts";
export { type CompareCircuitsOptions, compareCircuits } from "./circuits/evaluation/compare.ts";
export { type EvaluateCircuitOptions, evaluateCircuit } from "./circuits/evaluation/evaluate.ts";
export { type PruneCircuitOptions, type PrunedCircuit, pruneCircuit } from "./circuits/evaluation/prune.ts";
export type { SparseDictionary } from "./circuits/features/dictionary.ts";
export { type FeatureReading, type ReadFeaturesOptions, readFeatures } from "./circuits/features/read-features.ts";
export { loadDictionary } from "./circuits/features/sae-lens.ts";
export {
  type FeatureChange,
  featureChange,
  type ScaleFeaturesOptions,
  scaleFeatures,
} from "./circuits/features/scale-features.ts";
export { findLevels, type LevelOptions } from "./circuits/gradients/cache-levels.ts";
export {
  type GradientInput,
  type Gradients,
  gradient,
  gradientInTurns,
  type MetricSource,
} from "./circuits/gradients/gradient.ts";
export { type Intervened, type InterveneOptions, intervene } from "./circuits/intervene.ts";
export { nextTokenLosses } from "./circuits/loss.ts";
export { kMeans } from "./circuits/maps/clusters.ts";
export {
  type ActionGraph,
  codeGraph,
  type EdgeAgreement,
  type EdgeLimits,
  edgeAgreement,
  graphOf,
  type NodeWalk,
  placesOf,
  shortestPath,
} from "./circuits/maps/code-graph.ts";
export {
  type MetricOptions,
  metricGradient,
  metricValues,
  pairMetric,
} from "./circuits/metrics/measure.ts";
export { answerPairs, type PairAnswers } from "./circuits/pair-answers.ts";
export { type Pair, tokenPairs } from "./circuits/pairs.ts";
export { type PatchOptions, type PatchResult, patch } from "./circuits/patching/patch.ts";
export { type PathOptions, type PathResult, patchPaths } from "./circuits/patching/path.ts";
export { type PatchedPlace, patchTogether } from "./circuits/patching/together.ts";
export type { Question } from "./circuits/questions.ts";
export { type HeadRolesOptions, headRoles } from "./circuits/roles/roles.ts";
export { type FunctionVector, functionVector } from "./circuits/vectors/function-vector.ts";
export {
  type InContextVector,
  type InContextVectorsOptions,
  inContextVectors,
  vectorAdditions,
} from "./circuits/vectors/in-context-vectors.ts";
export { type LinearProbeOptions, linearProbe } from "./circuits/vectors/linear-probe.ts";
export { type ProbedRows, type RowProbeOptions, rowProbe } from "./circuits/vectors/row-probe.ts";
export { type Steered, type SteerOptions, steer } from "./circuits/vectors/steer.ts";
export { type HeadWeights, type HeadWeightsOptions, headWeights } from "./circuits/weights/head-weights.ts";
export type {
  Circuit,
  CircuitComparison,
  CircuitCurve,
  CircuitEvaluation,
  CircuitRunResult,
} from "./common/api/circuits.ts";
export type { HeadAgreement, HeadComparison } from "./common/api/documents.ts";
export type { NeedleTrial } from "./common/api/jobs.ts";
export type { LinearProbe } from "./common/api/linear-probes.ts";
export {
  type CircuitMaskOptions,
  circuitMask,
  dotText,
  graphmlText,
  neuronpediaGraph,
} from "./common/circuit-files/index.ts";
export { HeadscopeError } from "./common/errors.ts";
export { formatHead, formatKvHead } from "./common/heads/head.ts";
export { maskFromHeads, maskFromKvHeads, maskFromScores } from "./common/heads/mask.ts";
export { type MaskMeaning, meaningOf } from "./common/heads/meaning.ts";
export { ranking } from "./common/heads/metric.ts";
export { headModel } from "./common/heads/model.ts";
export { METRICS, type MetricName } from "./common/metrics.ts";
export {
  PATCH_DIRECTIONS,
  PATCH_METHODS,
  PATCH_NODES,
  PATCH_PLACES,
  PATH_ENDS,
  PATH_MLPS,
  type PathEnd,
  type PathMlps,
} from "./common/patching.ts";
export { Random } from "./common/random.ts";
export { PROCESSING, type Processing } from "./common/words.ts";
export { evaluate } from "./evaluation/evaluate.ts";
export type { EvaluateOptions, TaskRequest } from "./evaluation/plan.ts";
export { exporters, exportHeads, importers, scoresImporter } from "./exports/index.ts";
export { type Finder, headAgreement } from "./heads/agreement.ts";
export { compareScores } from "./heads/compare.ts";
export { readMask, readScores, writeMask, writeScores } from "./heads/files.ts";
export { type GatesFile, readGates, writeGates } from "./heads/gate-files.ts";
export { type CacheLevels, readLevels, writeLevels } from "./heads/levels.ts";
export {
  createPatterns,
  readPatterns,
  type SparsePattern,
  type SparsePatterns,
  writePatterns,
} from "./heads/patterns.ts";
export { parseHeads } from "./heads/refs.ts";
export { ActivationCache } from "./hooks/activation-cache.ts";
export { type IntervenedModel, intervenedModel } from "./hooks/intervened-model.ts";
export { type Intervention, parseInterventions } from "./hooks/intervention-schema.ts";
export { compileInterventions, disposeInterventions, zeroHeads } from "./hooks/interventions.ts";
export { runWithCache, runWithHooks } from "./hooks/run.ts";
export { loadCache, saveCache } from "./inference/cache-file.ts";
export { type CostOptions, type CostRow, type Costs, predictCosts } from "./inference/cost/costs.ts";
export { DEVICES, type Device } from "./inference/cost/devices.ts";
export { type Footprint, footprint, type RequestSize } from "./inference/cost/footprint.ts";
export { type Cost, type CostModel, predict } from "./inference/cost/predict.ts";
export { generate, generateBatch, readPrefix } from "./inference/generate.ts";
export type { PolicyRequest } from "./inference/policies/choice.ts";
export { policies } from "./inference/policies/index.ts";
export type { Policy } from "./inference/policies/kinds/policy.ts";
export { tokenPolicy } from "./inference/policies/kinds/tokens.ts";
export { searchPatterns } from "./inference/policies/prompt/search.ts";
export { Squares } from "./inference/policies/prompt/squares.ts";
export type { Prefix } from "./inference/prefix.ts";
export { type Verification, verifyModel } from "./inference/verify.ts";
export { runsFor } from "./jobs/reuse.ts";
export { makeSoup, type Soup, type SoupRequest } from "./jobs/soup.ts";
export type { SweepResult } from "./jobs/sweeps/results.ts";
export { planSweep, runSweep, type SweepOptions, type SweepPlan } from "./jobs/sweeps/sweep.ts";
export { parseSweep, type Sweep } from "./jobs/sweeps/sweep-file.ts";
export { type TrainRunsOptions, trainRuns } from "./jobs/train-runs.ts";
export { type BackwardOptions, backward } from "./models/backward/backward.ts";
export type { BackwardStep } from "./models/backward/step.ts";
export { type BackwardInput, type StoredRun, storeRun } from "./models/backward/stored-run.ts";
export { KvCache } from "./models/cache/kv-cache.ts";
export { codesOf } from "./models/codes.ts";
export type { ModelConfig } from "./models/config.ts";
export { forward } from "./models/forward/forward.ts";
export { describeModel, inspectModel, loadModel } from "./models/load.ts";
export type { Model } from "./models/model.ts";
export { type Oracle, readOracle } from "./models/oracle.ts";
export { withoutSoftPrompt, withSoftPrompt } from "./models/soft-prompt.ts";
export { pullHubModel } from "./models/sources/hub/pull.ts";
export { pullModel } from "./models/sources/pull.ts";
export { hookNames } from "./models/transformer/hook-points.ts";
export { parameter, parameterNames } from "./models/weights/parameters.ts";
export { initBackend } from "./runtime/backend.ts";
export { tf } from "./runtime/tf.ts";
export { openStore, type RunRecord, type Store } from "./store/store.ts";
export {
  type GradientComparison,
  type GradientCosine,
  gradientCosines,
} from "./training/gradients/gradient-cosines.ts";
export type { MetricPoint } from "./training/record/curves.ts";
export { makeSpec, type TrainSpec } from "./training/spec.ts";
export type { Batch, SyntheticTask, TaskShape } from "./training/task.ts";
export { type Metrics, type TrainCallbacks, type TrainStart, type TrainState, train } from "./training/train.ts";
