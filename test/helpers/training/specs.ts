import type { TrainSpec } from "../../../backend/training/spec.ts";

/** A training's specification for tests of what keeps and queues them: what is given, and nothing of the rest. */
export function trainSpec({
  task = "induction",
  params = {},
  model = {},
  training = {},
  probes = [],
}: {
  task?: string;
  params?: object;
  model?: object;
  training?: object;
  probes?: readonly string[];
}): TrainSpec {
  return {
    ...{ task, probes, params: { ...params } },
    model: model as TrainSpec["model"],
    training: training as TrainSpec["training"],
  };
}
