import { experimentCommand, experimentParameters, experiments, runExperiment } from "../../../experiments/index.ts";
import type { JobRequest } from "../../server/jobs/requests.ts";
import { openStore } from "../../store/store.ts";
import { progressTo } from "../progress.ts";
import type { Handler } from "./index.ts";

type ExperimentJob = Extract<JobRequest, { kind: "experiment" }>;

/** Runs an experiment and writes its report; what an earlier attempt has trained is used again. */
export const handle: Handler = async (
  payload,
  { emit, signal },
): Promise<{ experiment: string; preset: string; report: string }> => {
  const { name, preset, params: given = {} } = payload as ExperimentJob;
  const params = experimentParameters(experiments, name, preset, given);
  const command = experimentCommand(name, preset, given);
  const store = openStore();
  try {
    const options = { store, preset, params, command, signal, progress: progressTo(emit) };
    const { id } = await runExperiment(experiments.get(name), options);
    return { experiment: name, preset, report: id! };
  } finally {
    store.close();
  }
};
