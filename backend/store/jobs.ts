import { HeadscopeError, unknownName } from "../common/errors.ts";
import type { Status } from "../common/words.ts";
import type { Database, Row } from "./database.ts";
import { isAlive, type Owner, self } from "./owner.ts";

/** Progress of a job: `done` of `total`, of the stage that `label` names. */
export interface JobProgress {
  readonly done: number;
  readonly total: number;
  readonly label: string;
  /** Figures beside it, such as the loss. */
  readonly values?: Readonly<Record<string, number>> | undefined;
}

/** The subject of a job: what lists show in place of its spec. */
export interface JobSubject {
  /** Its work in words. */
  readonly title?: string | undefined;
  /** The model that it is about, where there is one. */
  readonly model?: string | undefined;
}

/** Ended jobs that are kept, the latest: they say where results are, and every page lists them all. */
export const KEPT_JOBS = 200;
/** Jobs that may wait for any process on the data folder: more than a person queues, few enough to list and look through. */
export const WAITING_JOBS = 100;

/** One piece of long work as lists have it: without what it is to do. */
export interface JobEntry extends JobSubject {
  readonly title: string;
  readonly id: number;
  /** Name of its kind, and of the handler that does it. */
  readonly kind: string;
  readonly status: Status;
  readonly progress?: JobProgress | undefined;
  /** The handler's result. */
  readonly result?: unknown;
  /** Why it failed, as one line. */
  readonly error?: string | undefined;
  /** Number of times that it was begun since it was added or resumed. */
  readonly attempts: number;
  /** True once somebody has asked for its end. */
  readonly cancel: boolean;
  /** Process that works on it, or that a queued job is kept for; none once it has ended. */
  readonly owner?: Owner | undefined;
  /** Last sign of the owner, milliseconds since 1970. */
  readonly heartbeat?: number | undefined;
  /** ISO times. */
  readonly created: string;
  readonly started?: string | undefined;
  readonly ended?: string | undefined;
}

/** One piece of long work. */
export interface Job extends JobEntry {
  /** Its work, as its kind defines it. */
  readonly spec: unknown;
}

/** The end of a worker's work on a job. */
export interface JobEnd {
  /** `queued` puts it back to be worked on again. */
  readonly status: Exclude<Status, "running">;
  readonly result?: unknown;
  readonly error?: string;
}

/** Jobs in SQLite, shared by every process on the data folder. Every method is one transaction. */
export interface JobStore {
  /**
   * @param options `keep`: only this process may work on it, as long as it lives; its subject, default the kind's name
   * @throws HeadscopeError `busy` where as many wait for any process as may
   */
  addJob(kind: string, spec: unknown, options?: JobSubject & { keep?: boolean }): Job;
  /** @throws HeadscopeError `usage` for an unknown job */
  job(id: number): Job;
  /** As `job`, without what it is to do. */
  jobEntry(id: number): JobEntry;
  /** Jobs in the order in which they were added; of those that have ended the latest `KEPT_JOBS`. */
  jobs(filter?: { status?: Status }): JobEntry[];
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
  /** Tells whether a living process works on a job or keeps it for itself; not so of one kept for this process, or one that is gone. */
  isHeld(id: number): boolean;
  /**
   * Puts a job that failed, was cancelled or lost its process back into the queue.
   * @param options `keep` as of `addJob`; `spec`, with its subject, replaces what it is to do
   * @throws HeadscopeError `usage` for a job that is done, or that a living process works on; `busy` as `addJob`
   */
  resumeJob(id: number, options?: JobSubject & { keep?: boolean; spec?: unknown }): Job;
  /**
   * Removes a job that has ended; what it made stays.
   * @throws HeadscopeError `usage` for an unknown job, or one that waits or is worked on
   */
  removeJob(id: number): void;
  /** Puts back the jobs that dead processes were working on. @returns those jobs, as they are now */
  recoverJobs(): Job[];
}

const COLUMNS =
  "id, kind, title, model, status, progress, result, error, attempts, cancel, owner, heartbeat, created, started, ended";

/** Tells whether a living process works on the job. */
export function isWorkedOn(job: Pick<JobEntry, "status" | "owner" | "heartbeat">): boolean {
  return job.status === "running" && ownerLives(job);
}

function ownerLives({ owner, heartbeat }: Pick<JobEntry, "owner" | "heartbeat">): boolean {
  return owner !== undefined && isAlive(owner, heartbeat ?? 0);
}

/** Options of a store of jobs. */
export interface JobStoreOptions {
  /** Jobs that may wait for any process, default `WAITING_JOBS`. */
  readonly waiting?: number | undefined;
  /** This process; tests say who they are. */
  readonly me?: Owner;
}

/** The jobs of a database. */
export function jobStore(database: Database, { waiting = WAITING_JOBS, me = self() }: JobStoreOptions = {}): JobStore {
  const mine = JSON.stringify(me);

  function jobEntry(id: number): JobEntry {
    const row = database.get(`SELECT ${COLUMNS} FROM jobs WHERE id = ?`, id);
    if (row !== undefined) return record(row);
    const ids = database.all("SELECT id FROM jobs").map((each) => String(each["id"]));
    throw unknownName("job", String(id), ids);
  }

  function job(id: number): Job {
    const entry = jobEntry(id);
    const row = database.get("SELECT spec FROM job_specs WHERE job = ?", id);
    return { ...entry, spec: row === undefined ? null : JSON.parse(String(row["spec"])) };
  }

  /** Every way into the queue comes through here; a job that is kept is worked on by who adds it, and waits for nobody. */
  function admit(keep: boolean): void {
    if (keep) return;
    const row = database.get("SELECT count(*) AS count FROM jobs WHERE status = 'queued' AND owner IS NULL");
    if (Number(row!["count"]) >= waiting)
      throw new HeadscopeError("busy", `${waiting} jobs wait already`, { remedy: "wait for them, or cancel some" });
  }

  function describe(id: number, spec: unknown, { title, model }: JobSubject): void {
    database.all("UPDATE jobs SET title = ?, model = ? WHERE id = ?", title ?? null, model ?? null, id);
    database.all("INSERT OR REPLACE INTO job_specs (job, spec) VALUES (?, ?)", id, JSON.stringify(spec));
  }

  /** Lets the oldest of the ended jobs go. */
  function trim(): void {
    database.all(
      `DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE status IN ('done', 'failed', 'cancelled')
       ORDER BY ended DESC, id DESC LIMIT -1 OFFSET ?)`,
      KEPT_JOBS,
    );
  }

  function jobs({ status }: { status?: Status } = {}): JobEntry[] {
    const rows =
      status === undefined
        ? database.all(`SELECT ${COLUMNS} FROM jobs ORDER BY id`)
        : database.all(`SELECT ${COLUMNS} FROM jobs WHERE status = ? ORDER BY id`, status);
    return rows.map(record);
  }

  function held(job: JobEntry): boolean {
    const keptForMe = job.status === "queued" && JSON.stringify(job.owner) === mine;
    return !keptForMe && ownerLives(job);
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
    jobEntry,
    jobs,

    addJob: (kind, spec, { keep = false, ...subject } = {}) =>
      database.transaction(() => {
        admit(keep);
        const row = database.get(
          "INSERT INTO jobs (kind, status, owner, heartbeat, created) VALUES (?, 'queued', ?, ?, ?) RETURNING id",
          ...[kind, keep ? mine : null, Date.now(), now()],
        );
        const id = Number(row!["id"]);
        describe(id, spec, { title: kind, ...subject });
        return job(id);
      }),

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

    endJob: (id, { status, result, error }) =>
      database.transaction(() => {
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
        trim();
        return ended !== undefined;
      }),

    cancelJob: (id) =>
      database.transaction(() => {
        const entry = jobEntry(id);
        if (isWorkedOn(entry)) database.all("UPDATE jobs SET cancel = 1 WHERE id = ?", id);
        else if (entry.status === "queued" || entry.status === "running")
          database.all("UPDATE jobs SET status = 'cancelled', owner = NULL, ended = ? WHERE id = ?", now(), id);
        trim();
        return job(id);
      }),

    isHeld(id) {
      const row = database.get(`SELECT ${COLUMNS} FROM jobs WHERE id = ?`, id);
      return row !== undefined && held(record(row));
    },

    resumeJob: (id, { keep = false, spec, ...subject } = {}) =>
      database.transaction(() => {
        const entry = jobEntry(id);
        if (entry.status === "done")
          throw new HeadscopeError("usage", `job ${id} is done`, { remedy: "there is nothing to resume" });
        if (held(entry)) throw busy(`job ${id}`, entry);
        if (entry.status !== "queued") admit(keep);
        if (spec !== undefined) describe(id, spec, { title: entry.title, ...subject });
        requeue(id, 0, keep ? mine : null);
        return job(id);
      }),

    removeJob: (id) =>
      database.transaction(() => {
        const entry = jobEntry(id);
        if (isWorkedOn(entry)) throw busy(`job ${id}`, entry);
        if (entry.status === "queued" || entry.status === "running")
          throw new HeadscopeError("usage", `job ${id} has not ended`, {
            remedy: `stop it first: headscope jobs cancel ${id}`,
          });
        database.all("DELETE FROM jobs WHERE id = ?", id);
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
export function busy(what: string, { id, owner }: Pick<JobEntry, "id" | "owner">): HeadscopeError {
  return new HeadscopeError("usage", `${what} is being worked on by process ${owner?.pid ?? "?"} (job ${id})`, {
    remedy: `stop it first: headscope jobs cancel ${id}`,
  });
}

function now(): string {
  return new Date().toISOString();
}

function record(row: Row): JobEntry {
  const { id, kind, title, model, status, progress, result, error, attempts, cancel, owner, heartbeat } = row;
  const optional = {
    model: model === null ? undefined : String(model),
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
    title: String(title ?? kind),
    status: status as Status,
    attempts: Number(attempts),
    cancel: cancel === 1,
    created: String(row["created"]),
    ...(Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)) as Partial<JobEntry>),
  };
}
