import { modelParameters, trainingParameters } from "../../backend/training/parameters.ts";
import type { TrainSpec } from "../../backend/training/spec.ts";

/** A training's specification for tests of what keeps and queues them: what is given, and the defaults of the rest. */
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
    task,
    params: { ...params },
    model: modelParameters.parse(model),
    training: trainingParameters.parse(training),
    probes,
  };
}
