import { probeHistory } from "../../../probes/history.ts";
import { probes } from "../../../probes/index.ts";
import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { loadModel } from "../../models/load.ts";
import { checkpointSteps, runIds } from "../../paths.ts";
import type { JobRequest } from "../../server/jobs/requests.ts";
import { progressTo } from "../progress.ts";
import { shortHash, writeResult } from "../result-files.ts";
import type { Handler } from "./index.ts";

type HistoryJob = Extract<JobRequest, { kind: "history" }>;

/** A probe at every saved step of a run. */
export const handle: Handler = async (payload, { emit, signal }): Promise<{ history: string }> => {
  const { run, probe, params = {} } = payload as HistoryJob;
  const parsed = probes.parse(probe, params);
  const steps = checkpointSteps(run);
  if (steps.length === 0 && !runIds().includes(run)) throw unknownName("run", run, runIds());
  if (steps.length === 0)
    throw new HeadscopeError("missing", `run ${run} has no saved step yet`, { remedy: "train it further" });
  const load = (step: number) => loadModel(`run:${run}@${step}`, { signal });
  const progress = progressTo(emit);
  const history = await probeHistory(probe, params, { run, steps, load }, { signal, progress });
  return { history: await writeResult(`histories/${run}/${probe}-${shortHash(parsed)}.json`, history) };
};
