import { type Registry, registry } from "../../backend/common/definitions/definition.ts";
import type { Learner } from "./base.ts";
import { gradientStep, stochasticGradient } from "./gradient.ts";
import { bayes, leastSquares, ridgeRegression } from "./linear.ts";
import { nearestNeighbours } from "./neighbours.ts";

/** Every learner of linear functions that headscope has. */
export const learners: Registry<Learner> = registry<Learner>("learner", [
  nearestNeighbours,
  gradientStep,
  stochasticGradient,
  ridgeRegression,
  leastSquares,
  bayes,
]);

export type { Learner, LinearSetting, OnlineLearner } from "./base.ts";
export { LeastSquares } from "./least-squares.ts";
export {
  type ImpliedWeights,
  impliedWeights,
  predictPrompts,
  promptBatch,
  type RegressionPrompts,
  regressionPrompts,
} from "./prompts.ts";
