import type { JobSummary } from "../../../../backend/common/api/jobs.ts";
import type { RunSummary, TrainRequest } from "../../../../backend/common/api/runs.ts";
import { deleteAt, post } from "../../api/client.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { runsData } from "../runs.svelte.ts";

/** The server's answer when runs begin or go on. */
export interface Started {
  readonly job: JobSummary;
  readonly runs: readonly RunSummary[];
}

/** Trains anew. @throws ApiError */
export function startRuns(request: TrainRequest): Promise<Started> {
  return start("/api/runs", request);
}

/** Goes on with a run that was stopped, and with those trained together with it. @throws ApiError */
export function resumeRun(id: string): Promise<Started> {
  return start(`/api/runs/${encodeURIComponent(id)}/resume`, {});
}

/** Removes a run with its curves and checkpoints. @throws ApiError */
export async function removeRun(id: string): Promise<void> {
  await deleteAt(`/api/runs/${encodeURIComponent(id)}`);
  workspace.runs.change((runs) => runs.filter((run) => run.id !== id));
  runsData.forget(id);
}

/** Afterwards the lists know what was begun, whether or not its event is here yet. */
async function start(path: string, body: unknown): Promise<Started> {
  const started = await post<Started>(path, body);
  await Promise.all([workspace.runs.read(), workspace.jobs.read()]);
  return started;
}
