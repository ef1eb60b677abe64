import { z } from "zod";
import { learner, type OnlineLearner } from "./base.ts";
import { LeastSquares } from "./least-squares.ts";
import { RidgePosterior } from "./ridge.ts";

const SOURCE = "Akyürek et al. 2023, What learning algorithm is in-context learning?";

/** A posterior as a learner: it predicts by its mean. */
function byMean(posterior: RidgePosterior): OnlineLearner {
  return {
    predict: (x) => posterior.predict(x),
    observe: (x, y) => posterior.observe(x, y),
    get weights() {
      return posterior.mean;
    },
  };
}

/** Ridge regression with a penalty that the prompts' distribution does not decide. */
export const ridgeRegression = learner({
  name: "ridge",
  title: "ridge regression",
  description: "w = (XᵀX + lambda I)⁻¹ Xᵀy.",
  source: SOURCE,
  parameters: z.object({ lambda: z.number().min(1e-6).default(1).describe("penalty on the squared length of w") }),
  start: ({ dimension }, { lambda }) => byMean(new RidgePosterior(dimension, { sigma: Math.sqrt(lambda), tau: 1 })),
});

/** Ordinary least squares. */
export const leastSquares = learner({
  name: "least-squares",
  title: "ordinary least squares",
  description: "The shortest w of the least squared error: with fewer pairs than dimensions it fits them all.",
  source: SOURCE,
  parameters: z.object({}),
  start: ({ dimension }) => new LeastSquares(dimension),
});

/** The posterior mean, which no other learner can beat on average. */
export const bayes = learner({
  name: "bayes",
  title: "posterior mean",
  description:
    "The mean of y given the pairs, for w ~ N(0, tau² I) and noise of standard deviation sigma: ridge regression with lambda = " +
    "sigma² / tau². Its expected squared error is the least there is.",
  source: SOURCE,
  parameters: z.object({}),
  start: ({ dimension, sigma, tau }) => byMean(new RidgePosterior(dimension, { sigma, tau })),
});
