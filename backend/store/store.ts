import { statSync } from "node:fs";
import { join } from "node:path";
import type { ShownStatus } from "../common/words.ts";
import { dataDir } from "../paths.ts";
import { openDatabase } from "./database.ts";
import { busy, isWorkedOn, type JobEntry, type JobStore, jobStore } from "./jobs.ts";
import { type RunRecord, type RunStore, runStore } from "./runs.ts";

/** Runs, curves, checkpoints and jobs of one data folder. Any number of processes may have it open. */
export interface Store extends RunStore, JobStore {
  /** The data folder. */
  readonly folder: string;
  /** What a reader should be told of a run. */
  shownStatus(run: RunRecord): ShownStatus;
  /** What a reader should be told of a job. */
  shownJobStatus(job: JobEntry): ShownStatus;
  /** The job that a living process works on for this run, if there is one. */
  liveJob(run: RunRecord): JobEntry | undefined;
  /** A text that changes with everything that this or another process writes. */
  version(): string;
  /** Does several things in one transaction: all of them or, when `work` throws, none. */
  transaction<T>(work: () => T): T;
  close(): void;
}

/** What `openStore` may be told. */
export interface StoreOptions {
  /** Data folder, default `dataDir()`. */
  readonly folder?: string;
  /**
   * Whether to make the folder and the database where they are missing, default true. Reading commands say false
   * and are given an empty store in memory instead.
   */
  readonly create?: boolean;
  /** Jobs that may wait for any process, default `WAITING_JOBS`. */
  readonly waiting?: number;
}

/**
 * Opens a data folder's store.
 * @throws HeadscopeError when the folder cannot be made or written, or the database is corrupt or of a newer version
 */
export function openStore({ folder = dataDir(), create = true, waiting }: StoreOptions = {}): Store {
  const path = databaseFile(folder);
  const database = openDatabase(create || isThere(path) ? path : ":memory:");
  const jobs = jobStore(database, { waiting });

  function liveJob(run: RunRecord): JobEntry | undefined {
    if (run.job === undefined || (run.status !== "running" && run.status !== "queued")) return undefined;
    const job = jobs.jobEntry(run.job);
    return isWorkedOn(job) ? job : undefined;
  }

  const runs = runStore(database, folder, (id) => {
    const job = liveJob(runs.run(id));
    if (job !== undefined) throw busy(`run ${id}`, job);
  });
  return {
    ...runs,
    ...jobs,
    folder,
    liveJob,
    shownStatus: (run) => (run.status === "running" && liveJob(run) === undefined ? "interrupted" : run.status),
    shownJobStatus: (job) => (job.status === "running" && !isWorkedOn(job) ? "interrupted" : job.status),
    version: () =>
      Object.values(database.get("SELECT data_version, total_changes() FROM pragma_data_version")!).join("."),
    transaction: (work) => database.transaction(work),
    close: () => database.close(),
  };
}

/** Whether there is something at a path; one that cannot be looked at counts, so that opening it says why. */
function isThere(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ENOENT";
  }
}

/** The SQLite file of a data folder. */
export function databaseFile(folder: string): string {
  return join(folder, "headscope.db");
}

export { type Job, type JobEnd, type JobEntry, type JobProgress, type JobSubject, WAITING_JOBS } from "./jobs.ts";
export type { CheckpointRow, MetricPoint, RunChanges, RunFilter, RunRecord } from "./runs.ts";
