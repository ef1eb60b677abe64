import { type Registry, registry } from "../backend/common/definitions/definition.ts";
import type { SyntheticTask } from "../backend/training/task.ts";
import { associativeRecall } from "./associative-recall.ts";
import { bandits } from "./bandits/bandits.ts";
import { zipfBigram } from "./bigrams/zipf-bigram.ts";
import { characterText } from "./characters/character-text.ts";
import { copy } from "./copy.ts";
import { hiddenFactor } from "./factors/hidden-factor.ts";
import { discreteWeights } from "./families/discrete-weights.ts";
import { fourierSeries } from "./families/fourier-series.ts";
import { gaussianWeights } from "./families/gaussian-weights.ts";
import { monomials } from "./families/monomials.ts";
import { noiseLevels } from "./families/noise-levels.ts";
import { gaussianClassification } from "./gaussian-classification.ts";
import { hmmMixture } from "./hmm-mixture.ts";
import { induction } from "./induction.ts";
import { linearRegression } from "./linear-regression.ts";
import { logisticRegression } from "./logistic-regression.ts";
import { randomProjections } from "./projections/random-projections.ts";
import { logicFragments } from "./reasoning/logic-fragments.ts";
import { wordRoles } from "./roles/word-roles.ts";
import { ambiguousRooms } from "./rooms/ambiguous-rooms.ts";
import { slidingWindow } from "./windows/sliding-window.ts";

/** Every task that headscope has. */
export const tasks: Registry<SyntheticTask> = registry<SyntheticTask>("task", [
  induction,
  gaussianClassification,
  linearRegression,
  logisticRegression,
  associativeRecall,
  copy,
  bandits,
  ambiguousRooms,
  hmmMixture,
  wordRoles,
  randomProjections,
  hiddenFactor,
  slidingWindow,
  zipfBigram,
  characterText,
  gaussianWeights,
  fourierSeries,
  monomials,
  discreteWeights,
  noiseLevels,
  logicFragments,
]);

export type { Batch, Evaluation, Reference, SyntheticTask, TaskShape } from "../backend/training/task.ts";
export { RidgePosterior } from "./learners/ridge.ts";
export { type SampledRows, sampleRows } from "./sample.ts";
