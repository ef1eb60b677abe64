import { tasks } from "../../../synthetic-tasks/index.ts";
import type { JobEntry, JobProgress, RunRecord, Store } from "../../store/store.ts";
import type { JobSummary, RunSummary } from "../api.ts";

/** Tells how long work will take yet from how fast its present stage went so far. */
export class Remaining {
  #label: string | undefined;
  #began = { at: 0, done: 0 };
  #latest: JobProgress | undefined;
  #at = 0;

  /** @param now milliseconds of any clock */
  push(progress: JobProgress, now: number): void {
    if (progress.label !== this.#label || progress.done < this.#began.done) {
      this.#label = progress.label;
      this.#began = { at: now, done: progress.done };
    }
    this.#latest = progress;
    this.#at = now;
  }

  /** Milliseconds; undefined before it can be told: a second in, with something done. */
  at(now: number): number | undefined {
    if (this.#latest === undefined) return undefined;
    const { done, total } = this.#latest;
    const made = done - this.#began.done;
    const took = this.#at - this.#began.at;
    if (made <= 0 || took < 1_000) return undefined;
    return Math.max(0, Math.round((took / made) * (total - done) - (now - this.#at)));
  }
}

/** A job as the API shows it. @param live what is known of a job at work beyond the store */
export function jobSummary(
  store: Pick<Store, "shownJobStatus">,
  job: JobEntry,
  live: { progress?: JobProgress | undefined; remaining?: number | undefined } = {},
): JobSummary {
  const { id, kind, title, model, result, error, created, started, ended } = job;
  const status = store.shownJobStatus(job);
  const progress = live.progress ?? job.progress;
  return {
    id,
    kind,
    title,
    ...(model === undefined ? {} : { model }),
    status,
    ...(progress === undefined ? {} : { progress }),
    ...(live.remaining === undefined || status !== "running" ? {} : { remaining: live.remaining }),
    ...(result === undefined ? {} : { result }),
    ...(error === undefined ? {} : { error }),
    created,
    ...(started === undefined ? {} : { started }),
    ...(ended === undefined ? {} : { ended }),
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
    ...(job === undefined ? {} : { job }),
    ...(error === undefined ? {} : { error }),
    created,
    updated,
    tokens: readsTokens(run),
  };
}

/** Whether a run's model reads tokens; false for a task that this version no longer has. */
export function readsTokens({ task, spec }: RunRecord): boolean {
  if (!tasks.names().includes(task)) return false;
  return tasks.get(task).shape(spec.params).input.kind === "tokens";
}
