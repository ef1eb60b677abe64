import type { Job, JobProgress, RunRecord, Store } from "../store/store.ts";
import type { WorkerOptions } from "./client.ts";
import { Queue } from "./queue.ts";
import { type TrainEvent, trainEvent } from "./train-kind.ts";

/** How a training is followed. */
export interface TrainRunsOptions {
  /** Cancels it: a checkpoint of the present step is written, and the runs can go on from it. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: JobProgress) => void;
  /** Called with every event, after the store has it. */
  readonly onEvent?: (event: TrainEvent) => void;
  readonly worker?: WorkerOptions;
}

/**
 * Trains runs in a worker process, the runs of a group together, and brings what happens into the store. Runs that
 * have checkpoints go on from the last one that the whole group has; runs that are done stay as they are.
 * @param runs of any groups; the other runs of these groups are trained with them
 * @returns the runs of these groups, as they are now: `done`, or `cancelled` by `signal` or by another process
 * @throws HeadscopeError `usage` for a run that a living process trains; what the training failed with, after the store
 *   has it
 */
export async function trainRuns(
  store: Store,
  runs: readonly RunRecord[],
  { signal, onProgress, onEvent, worker }: TrainRunsOptions = {},
): Promise<RunRecord[]> {
  const queue = new Queue(store, worker === undefined ? {} : { worker });
  const groups = [...new Set(runs.map(({ group }) => group))];
  for (const group of groups) {
    const job = enlist(store, group, { keep: true });
    if (job === undefined) continue;
    await queue.workOn(job.id, {
      signal,
      onProgress: (_, progress) => onProgress?.(progress),
      onEvent: (_, event) => onEvent?.(trainEvent.parse(event)),
    });
  }
  return groups.flatMap((group) => store.runs({ group }));
}

/**
 * Puts a group of runs into the queue.
 * @param options `keep`: only this process may train them, as long as it lives
 * @returns the job; undefined when all are done
 * @throws HeadscopeError `usage` for runs that a living process trains
 */
export function enlist(store: Store, group: string, { keep = false }: { keep?: boolean } = {}): Job | undefined {
  return store.transaction(() => {
    const runs = store.runs({ group });
    if (runs.every((run) => run.status === "done" && run.step >= run.steps)) return undefined;
    const spec = { runs: runs.map(({ id }) => id) };
    const before = runs.flatMap(({ job }) => (job === undefined ? [] : [store.job(job)])).at(-1);
    const job =
      before === undefined || before.status === "done"
        ? store.addJob("train", spec, { keep })
        : store.resumeJob(before.id, { keep, spec });
    for (const { id } of runs) store.updateRun(id, { job: job.id, status: "queued", error: null });
    return job;
  });
}
