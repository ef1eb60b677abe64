import { setTimeout as sleep } from "node:timers/promises";
import { HeadscopeError } from "../common/errors.ts";
import type { Job, JobProgress, RunRecord, Store } from "../store/store.ts";
import { subjectOf } from "./kind.ts";
import { type TrainEvent, train, trainEvent } from "./kinds/train.ts";
import { Queue } from "./queue.ts";
import type { WorkerOptions } from "./worker-process.ts";

/** Milliseconds between looks at a training that another process does. */
const LOOK = 250;

/** Options of a training. */
export interface TrainRunsOptions {
  /** Cancels it: a checkpoint of the present step is written, and the runs can go on from it. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: JobProgress) => void;
  /** Called with every event, after the store has it. */
  readonly onEvent?: (event: TrainEvent) => void;
  readonly worker?: WorkerOptions | undefined;
  /**
   * Treatment of runs that a living process trains already, default "refuse". "wait" follows that training to its end, and
   * goes on with it where its process dies: for work whose runs may have been taken over by whoever came after a crash.
   */
  readonly whenBusy?: "refuse" | "wait";
}

/**
 * Trains runs in a worker process, the runs of a group together, and brings what happens into the store. Runs that
 * have checkpoints go on from the last one that the whole group has; runs that are done stay as they are.
 * @param runs of any groups; the other runs of these groups are trained with them
 * @returns the runs of these groups, as they are now: `done`, or `cancelled` by `signal` or by another process
 * @throws HeadscopeError `usage` for a run that a living process trains, unless it is waited for; what the training failed
 *   with, after the store has it
 */
export async function trainRuns(
  store: Store,
  runs: readonly RunRecord[],
  options: TrainRunsOptions = {},
): Promise<RunRecord[]> {
  const groups = [...new Set(runs.map(({ group }) => group))];
  for (const group of groups) await trainGroup(store, group, options);
  return groups.flatMap((group) => store.runs({ group }));
}

async function trainGroup(store: Store, group: string, options: TrainRunsOptions): Promise<void> {
  const { signal, onProgress, onEvent, worker, whenBusy } = options;
  for (;;) {
    const { other, own } = store.transaction(() => {
      const held = whenBusy === "wait" ? heldJob(store, group) : undefined;
      return held === undefined ? { own: enlist(store, group, { keep: true }) } : { other: held };
    });
    if (other === undefined) {
      if (own === undefined) return;
      return new Queue(store, { kinds: [train], worker }).workOn(own.id, {
        signal,
        onProgress: (_, progress) => onProgress?.(progress),
        onEvent: (_, event) => onEvent?.(trainEvent.parse(event)),
      });
    }
    await follow(store, other, options);
    const runs = store.runs({ group });
    const failed = runs.find(({ status }) => status === "failed");
    if (failed !== undefined)
      throw new HeadscopeError("input", `run ${failed.id} failed in another process: ${failed.error}`, {
        remedy: `go on with it: headscope train --resume ${failed.id}`,
      });
    if (signal?.aborted === true || runs.some(({ status }) => status === "cancelled")) return;
  }
}

/** The job by which another process trains a group, or is about to. */
function heldJob(store: Store, group: string): number | undefined {
  return store.runs({ group }).find(({ job }) => job !== undefined && store.isHeld(job))?.job;
}

/** Tells how far another process's job is, until that process has ended it or has died, or the signal comes. */
async function follow(store: Store, id: number, { signal, onProgress }: TrainRunsOptions): Promise<void> {
  let last = "";
  while (signal?.aborted !== true && store.isHeld(id)) {
    const { progress } = store.jobEntry(id);
    const text = JSON.stringify(progress);
    if (progress !== undefined && text !== last) onProgress?.(progress);
    last = text;
    await sleep(LOOK, undefined, { signal }).catch(() => {});
  }
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
    const mean = runs.find((run) => run.spec.soup !== undefined);
    if (mean)
      throw new HeadscopeError("usage", `${mean.id} is a mean of runs that was not finished, and is not trained`, {
        remedy: `remove it (headscope runs rm ${mean.id}) and make it again`,
      });
    const spec = { runs: runs.map(({ id }) => id) };
    const subject = subjectOf(train, spec);
    const before = runs.flatMap(({ job }) => (job === undefined ? [] : [store.job(job)])).at(-1);
    const job =
      before === undefined || before.status === "done"
        ? store.addJob(train.name, spec, { keep, ...subject })
        : store.resumeJob(before.id, { keep, spec, ...subject });
    for (const { id } of runs) store.updateRun(id, { job: job.id, status: "queued", error: null });
    return job;
  });
}
