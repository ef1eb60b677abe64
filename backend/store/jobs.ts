import { HeadscopeError, unknownName } from "../errors.ts";
import type { Database, Row } from "./database.ts";
import { isAlive, type Owner, self } from "./owner.ts";

/** Where a job is. */
export type JobStatus = "queued" | "running" | "done" | "failed" | "cancelled";

/** How far a job is: `done` of `total`, of the stage that `label` names. */
export interface JobProgress {
  readonly done: number;
  readonly total: number;
  readonly label: string;
  /** What a person may want to see beside it, such as the loss. */
  readonly values?: Readonly<Record<string, number>>;
}

/** One piece of long work. */
export interface Job {
  readonly id: number;
  /** Which handler does it. */
  readonly kind: string;
  /** What it is to do, as its kind defines. */
  readonly spec: unknown;
  readonly status: JobStatus;
  readonly progress?: JobProgress;
  /** What the handler gave back. */
  readonly result?: unknown;
  /** Why it failed, as one line. */
  readonly error?: string;
  /** How often it was begun since it was added or resumed. */
  readonly attempts: number;
  /** Whether somebody has asked for its end. */
  readonly cancel: boolean;
  /** Process that works on it, or that a queued job is kept for; none once it has ended. */
  readonly owner?: Owner;
  /** Last sign of the owner, milliseconds since 1970. */
  readonly heartbeat?: number;
  /** ISO times. */
  readonly created: string;
  readonly started?: string;
  readonly ended?: string;
}

/** How a job left its worker. */
export interface JobEnd {
  /** `queued` puts it back to be worked on again. */
  readonly status: Exclude<JobStatus, "running">;
  readonly result?: unknown;
  readonly error?: string;
}

/** Jobs in SQLite, shared by every process on the data folder. Every method is one transaction. */
export interface JobStore {
  /** @param keep whether only this process may work on it, as long as it lives */
  addJob(kind: string, spec: unknown, options?: { keep?: boolean }): Job;
  /** @throws HeadscopeError `usage` for an unknown job */
  job(id: number): Job;
  /** Jobs in the order in which they were added. */
  jobs(filter?: { status?: JobStatus }): Job[];
  /** Takes the next queued job for this process; undefined when there is none. @param only ids that will do */
  claimJob(only?: readonly number[]): Job | undefined;
  /**
   * Gives a sign of life and tells how far the job is.
   * @returns `cancel`: somebody has asked for its end; `lost`: it is no longer this process's
   */
  beat(id: number, progress?: JobProgress): { cancel: boolean; lost: boolean };
  /** Ends this process's work on a job. @returns false, and does nothing, when it is no longer this process's */
  endJob(id: number, end: JobEnd): boolean;
  /** Asks for a job's end: at once when it waits or its process is dead, else its process is told by its next beat. */
  cancelJob(id: number): Job;
  /**
   * Puts a job that failed, was cancelled or lost its process back into the queue.
   * @param options `keep` as of `addJob`; `spec` replaces what it is to do
   * @throws HeadscopeError `usage` for a job that is done, or that a living process works on
   */
  resumeJob(id: number, options?: { keep?: boolean; spec?: unknown }): Job;
  /** Puts back the jobs that dead processes were working on. @returns those jobs, as they are now */
  recoverJobs(): Job[];
}

const COLUMNS =
  "id, kind, spec, status, progress, result, error, attempts, cancel, owner, heartbeat, created, started, ended";

/** Whether a living process works on the job. */
export function isWorkedOn(job: Pick<Job, "status" | "owner" | "heartbeat">): boolean {
  return job.status === "running" && ownerLives(job);
}

function ownerLives({ owner, heartbeat }: Pick<Job, "owner" | "heartbeat">): boolean {
  return owner !== undefined && isAlive(owner, heartbeat ?? 0);
}

/** @param me this process; tests say who they are */
export function jobStore(database: Database, me: Owner = self()): JobStore {
  const mine = JSON.stringify(me);

  function job(id: number): Job {
    const row = database.get(`SELECT ${COLUMNS} FROM jobs WHERE id = ?`, id);
    if (row !== undefined) return record(row);
    const ids = database.all("SELECT id FROM jobs").map((each) => String(each["id"]));
    throw unknownName("job", String(id), ids);
  }

  function jobs({ status }: { status?: JobStatus } = {}): Job[] {
    const rows =
      status === undefined
        ? database.all(`SELECT ${COLUMNS} FROM jobs ORDER BY id`)
        : database.all(`SELECT ${COLUMNS} FROM jobs WHERE status = ? ORDER BY id`, status);
    return rows.map(record);
  }

  /** Back into the queue, for everybody or kept for `owner`. */
  function requeue(id: number, attempts: number, owner: string | null): void {
    database.all(
      `UPDATE jobs SET status = 'queued', owner = ?, heartbeat = ?, attempts = ?, cancel = 0,
       error = NULL, result = NULL, ended = NULL WHERE id = ?`,
      ...[owner, Date.now(), attempts, id],
    );
  }

  return {
    job,
    jobs,

    addJob(kind, spec, { keep = false } = {}) {
      const row = database.get(
        `INSERT INTO jobs (kind, spec, status, owner, heartbeat, created) VALUES (?, ?, 'queued', ?, ?, ?)
         RETURNING ${COLUMNS}`,
        ...[kind, JSON.stringify(spec), keep ? mine : null, Date.now(), now()],
      );
      return record(row!);
    },

    claimJob: (only) =>
      database.transaction(() => {
        const free = jobs({ status: "queued" }).find(
          (each) =>
            (only === undefined || only.includes(each.id)) &&
            (each.owner === undefined || JSON.stringify(each.owner) === mine || !ownerLives(each)),
        );
        if (free === undefined) return undefined;
        database.all(
          `UPDATE jobs SET status = 'running', owner = ?, heartbeat = ?, attempts = attempts + 1,
           started = coalesce(started, ?) WHERE id = ?`,
          ...[mine, Date.now(), now(), free.id],
        );
        return job(free.id);
      }),

    beat(id, progress) {
      const row = database.get(
        `UPDATE jobs SET heartbeat = ?, progress = coalesce(?, progress)
         WHERE id = ? AND owner = ? AND status = 'running' RETURNING cancel`,
        ...[Date.now(), progress === undefined ? null : JSON.stringify(progress), id, mine],
      );
      return { cancel: row?.["cancel"] === 1, lost: row === undefined };
    },

    endJob(id, { status, result, error }) {
      const again = status === "queued";
      const ended = database.get(
        `UPDATE jobs SET status = ?, result = ?, error = ?, ended = ?, owner = ?, heartbeat = ?
         WHERE id = ? AND owner = ? AND status = 'running' RETURNING id`,
        status,
        result === undefined ? null : JSON.stringify(result),
        error ?? null,
        again ? null : now(),
        // A job to be tried again stays with the process that asked for it.
        again ? mine : null,
        Date.now(),
        id,
        mine,
      );
      return ended !== undefined;
    },

    cancelJob: (id) =>
      database.transaction(() => {
        const found = job(id);
        if (isWorkedOn(found)) database.all("UPDATE jobs SET cancel = 1 WHERE id = ?", id);
        else if (found.status === "queued" || found.status === "running")
          database.all("UPDATE jobs SET status = 'cancelled', owner = NULL, ended = ? WHERE id = ?", now(), id);
        return job(id);
      }),

    resumeJob: (id, { keep = false, spec } = {}) =>
      database.transaction(() => {
        const found = job(id);
        if (found.status === "done")
          throw new HeadscopeError("usage", `job ${id} is done`, { remedy: "there is nothing to resume" });
        const keptForMe = found.status === "queued" && JSON.stringify(found.owner) === mine;
        if (!keptForMe && ownerLives(found)) throw busy(`job ${id}`, found);
        if (spec !== undefined) database.all("UPDATE jobs SET spec = ? WHERE id = ?", JSON.stringify(spec), id);
        requeue(id, 0, keep ? mine : null);
        return job(id);
      }),

    recoverJobs: () =>
      database.transaction(() => {
        const dead = jobs({ status: "running" }).filter((each) => !isWorkedOn(each));
        for (const each of dead) requeue(each.id, each.attempts, null);
        return dead.map(({ id }) => job(id));
      }),
  };
}

/** The refusal to touch what another process works on. @param what such as "run induction-3" */
export function busy(what: string, { id, owner }: Pick<Job, "id" | "owner">): HeadscopeError {
  return new HeadscopeError("usage", `${what} is being worked on by process ${owner?.pid ?? "?"} (job ${id})`, {
    remedy: `stop it first: headscope jobs cancel ${id}`,
  });
}

function now(): string {
  return new Date().toISOString();
}

function record(row: Row): Job {
  const { id, kind, spec, status, progress, result, error, attempts, cancel, owner, heartbeat } = row;
  const optional = {
    progress: progress === null ? undefined : (JSON.parse(String(progress)) as JobProgress),
    result: result === null ? undefined : JSON.parse(String(result)),
    error: error === null ? undefined : String(error),
    owner: owner === null ? undefined : (JSON.parse(String(owner)) as Owner),
    heartbeat: heartbeat === null ? undefined : Number(heartbeat),
    started: row["started"] === null ? undefined : String(row["started"]),
    ended: row["ended"] === null ? undefined : String(row["ended"]),
  };
  return {
    id: Number(id),
    kind: String(kind),
    spec: JSON.parse(String(spec)),
    status: status as JobStatus,
    attempts: Number(attempts),
    cancel: cancel === 1,
    created: String(row["created"]),
    ...(Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)) as Partial<Job>),
  };
}
