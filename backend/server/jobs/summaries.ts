import { tasks } from "../../../synthetic-tasks/index.ts";
import type { JobSummary } from "../../common/api/jobs.ts";
import type { RunSummary } from "../../common/api/runs.ts";
import type { JobResults } from "../../jobs/kinds/index.ts";
import type { JobEntry, JobProgress, RunRecord, Store } from "../../store/store.ts";

/** A job with the result that its kind gives. */
export type KnownJob = JobSummary & { readonly result?: JobResults[keyof JobResults] | undefined };

/** A job as the API shows it. @param live what is known of a job at work beyond the store */
export function jobSummary(
  store: Pick<Store, "shownJobStatus">,
  job: JobEntry,
  live: { progress?: JobProgress | undefined; remaining?: number | undefined } = {},
): KnownJob {
  const { id, kind, title, model, result, error, created, started, ended } = job;
  const status = store.shownJobStatus(job);
  return {
    id,
    kind,
    title,
    model,
    status,
    progress: live.progress ?? job.progress,
    remaining: status === "running" ? live.remaining : undefined,
    result: result as KnownJob["result"],
    error,
    created,
    started,
    ended,
  };
}

/** A run as the API lists it. */
export function runSummary(store: Pick<Store, "shownStatus">, run: RunRecord): RunSummary {
  const { id, task, step, steps, seed, group, job, error, created, updated } = run;
  return {
    id,
    task,
    status: store.shownStatus(run),
    step,
    steps,
    seed,
    group,
    job,
    error,
    created,
    updated,
    tokens: readsTokens(run),
  };
}

/** Says that a run's model reads tokens; false for a task that this version no longer has. */
export function readsTokens({ task, spec }: RunRecord): boolean {
  if (!tasks.names().includes(task)) return false;
  return tasks.get(task).shape(spec.params).input.kind === "tokens";
}
