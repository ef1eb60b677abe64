import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { HeadscopeError } from "../common/errors.ts";
import type { Job, JobEnd, JobEntry, JobProgress, Store } from "../store/store.ts";
import { Worker } from "./client.ts";
import { type QueuedKind, subjectOf } from "./kind.ts";
import { WorkerCrash, type WorkerOptions } from "./worker-process.ts";

/** Milliseconds between a running job's signs of life, at which it also looks whether it is to stop. */
const BEAT = 1_000;
/**
 * Jobs train, and oneDNN makes the products of wide models faster. It is set whatever the parent has, so that a run that goes
 * on in another process gives the same bits.
 */
const ENVIRONMENT = { TF_ENABLE_ONEDNN_OPTS: "1" };
/** Milliseconds without a job after which a worker process is ended. */
const IDLE = 60_000;
/** A job whose worker crashed is begun this often in all. */
const ATTEMPTS = 2;

/** Means of a queue. */
export interface QueueOptions {
  /** The kinds of the jobs that it may add, work on or end; a job of another kind is its name and what its worker does. */
  readonly kinds: readonly QueuedKind[];
  /** Options of its worker processes; `threads` defaults to all cores shared out among them. */
  readonly worker?: WorkerOptions | undefined;
}

/** Options of a queue's work. */
export interface WorkOptions {
  /** Jobs at a time, each in a worker process of its own, default 1. */
  readonly concurrency?: number;
  /** Ids of the jobs that will do, default all. */
  readonly only?: readonly number[];
  /** Milliseconds after which an empty queue is looked at again, until `signal`; default: end when it is empty. */
  readonly poll?: number;
  /** Stops the jobs that run and ends the work. */
  readonly signal?: AbortSignal | undefined;
  /** Status of jobs that `signal` stops, default "cancelled"; "queued" leaves them to whoever works next. */
  readonly whenStopped?: "cancelled" | "queued";
  readonly onProgress?: (job: Job, progress: JobProgress) => void;
  /** Called with every other event of a job, after the store has it. */
  readonly onEvent?: (job: Job, event: unknown) => void;
  /** Called when a job has ended. @param error what it failed with */
  readonly onEnd?: (job: Job, error?: unknown) => void;
}

/**
 * Long work in worker processes, kept in the store: any process on the same data folder may add jobs, watch and cancel
 * them, and work on them. A job whose process died is put back; one whose worker crashed is tried once more.
 */
export class Queue {
  readonly #store: Store;
  readonly #worker: WorkerOptions;
  readonly #kinds: readonly QueuedKind[];

  constructor(store: Store, { kinds, worker = {} }: QueueOptions) {
    this.#store = store;
    this.#worker = worker;
    this.#kinds = kinds;
  }

  /**
   * @param options `keep`: only this process may work on it, as long as it lives
   * @throws HeadscopeError `busy` where as many wait as may
   */
  add(kind: string, spec: unknown, options: { keep?: boolean } = {}): Job {
    return this.#store.addJob(kind, spec, { ...options, ...subjectOf(this.#kind(kind), spec) });
  }

  list(): JobEntry[] {
    return this.#store.jobs();
  }

  /** Asks for a job's end; one that a living process works on ends when that process has heard of it. */
  cancel(id: number): Job {
    return this.#store.transaction(() => {
      const job = this.#store.cancelJob(id);
      if (job.status === "cancelled") this.#kind(job.kind)?.settle?.(this.#store, job, { status: "cancelled" });
      return job;
    });
  }

  /** Removes a job that has ended; what it made stays. @throws HeadscopeError `usage` for any other */
  remove(id: number): void {
    this.#store.removeJob(id);
  }

  /** Puts a job that failed, was cancelled or lost its process back into the queue. @throws HeadscopeError `usage`, `busy` */
  resume(id: number, options: { keep?: boolean } = {}): Job {
    return this.#store.resumeJob(id, options);
  }

  /** Puts back the jobs that dead processes were working on. */
  recover(): Job[] {
    return this.#store.transaction(() => {
      const jobs = this.#store.recoverJobs();
      for (const job of jobs) this.#kind(job.kind)?.settle?.(this.#store, job, { status: "queued" });
      return jobs;
    });
  }

  /**
   * Works on the queued jobs.
   * @throws what the store throws, such as on a full disk; a job's own failure is the job's, and `onEnd` is told of it
   */
  async work(options: WorkOptions = {}): Promise<void> {
    const { concurrency = 1 } = options;
    const stop = new AbortController();
    const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
    const shared = concurrency > 1 ? { threads: Math.max(1, Math.floor(availableParallelism() / concurrency)) } : {};
    if (options.only === undefined) this.recover();
    const slots = Array.from({ length: concurrency }, async () => {
      const worker = new Worker({ environment: ENVIRONMENT, ...shared, ...this.#worker });
      try {
        await this.#slot(worker, { ...options, signal });
      } catch (error) {
        stop.abort(error);
        throw error;
      } finally {
        await worker.close();
      }
    });
    const failed = (await Promise.allSettled(slots)).find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  /**
   * Works on one job; `signal` cancels it.
   * @throws what it failed with, after the store has it
   */
  async workOn(id: number, options: Pick<WorkOptions, "signal" | "onProgress" | "onEvent"> = {}): Promise<void> {
    let failure: { error: unknown } | undefined;
    await this.work({
      ...options,
      only: [id],
      onEnd: (_, error) => {
        failure = error === undefined ? undefined : { error };
      },
    });
    if (options.signal?.aborted === true) this.cancel(id);
    if (failure !== undefined) throw failure.error;
  }

  #kind(name: string): QueuedKind | undefined {
    return this.#kinds.find((kind) => kind.name === name);
  }

  async #slot(worker: Worker, options: WorkOptions & { signal: AbortSignal }): Promise<void> {
    const { signal, poll, only } = options;
    let worked = performance.now();
    while (!signal.aborted) {
      const job = this.#store.claimJob(only);
      if (job !== undefined) {
        await new Attempt(this.#store, this.#kind(job.kind), job, options).run(worker);
        worked = performance.now();
      } else if (poll === undefined) return;
      else {
        if (performance.now() - worked > IDLE) await worker.rest();
        await sleep(poll, undefined, { signal }).catch(() => {});
        if (only === undefined && !signal.aborted) this.recover();
      }
    }
  }
}

/** One try at a job by a worker, and what it means for the store. */
class Attempt {
  readonly #store: Store;
  readonly #kind: QueuedKind | undefined;
  readonly #job: Job;
  readonly #options: WorkOptions & { signal: AbortSignal };
  readonly #stop = new AbortController();
  #cancelRequested = false;
  #events: unknown[] = [];
  #progress: JobProgress | undefined;
  #broken: { error: unknown } | undefined;

  constructor(store: Store, kind: QueuedKind | undefined, job: Job, options: WorkOptions & { signal: AbortSignal }) {
    this.#store = store;
    this.#kind = kind;
    this.#job = job;
    this.#options = options;
  }

  async run(worker: Worker): Promise<void> {
    const { kind, spec } = this.#job;
    const signal = AbortSignal.any([this.#options.signal, this.#stop.signal]);
    const beat = setInterval(() => this.#guard(() => this.#beat()), BEAT);
    let error: unknown;
    let end: JobEnd;
    try {
      const payload = this.#kind?.prepare?.(this.#store, this.#job) ?? spec;
      const result = await worker.request(kind, payload, { signal, onEvent: (event) => this.#receive(event) });
      this.#guard(() => this.#flush());
      const stopped = (result as { status?: unknown } | null | undefined)?.status === "cancelled";
      end = { status: stopped ? this.#stoppedStatus() : "done", result };
    } catch (thrown) {
      error = thrown;
      this.#guard(() => this.#flush());
      end = this.#endOf(thrown);
    } finally {
      clearInterval(beat);
    }
    if (this.#broken !== undefined) throw this.#giveUp(this.#broken.error);
    this.#end(end);
    const failed = end.status === "failed" ? error : undefined;
    this.#options.onEnd?.(this.#store.job(this.#job.id), failed);
  }

  /** Runs what uses the store; when the store fails, the job stops. */
  #guard(work: () => void): void {
    if (this.#broken !== undefined) return;
    try {
      work();
    } catch (error) {
      this.#broken = { error };
      this.#stop.abort(error);
    }
  }

  #beat(): void {
    const { cancel, lost } = this.#store.beat(this.#job.id, this.#progress);
    this.#progress = undefined;
    if (cancel) this.#cancelRequested = true;
    if (cancel || lost) this.#stop.abort();
  }

  #receive(event: unknown): void {
    if (isProgress(event)) {
      const { done, total, label, values } = event;
      this.#progress = { done, total, label, values };
      this.#options.onProgress?.(this.#job, this.#progress);
      return;
    }
    // What arrives together goes into one transaction.
    if (this.#events.push(event) === 1) setImmediate(() => this.#guard(() => this.#flush()));
  }

  #flush(): void {
    const events = this.#events;
    this.#events = [];
    if (events.length === 0) return;
    this.#store.transaction(() => this.#kind?.apply?.(this.#store, this.#job, events));
    for (const event of events) this.#options.onEvent?.(this.#job, event);
  }

  #endOf(error: unknown): JobEnd {
    if (error instanceof HeadscopeError && error.kind === "cancelled") return { status: this.#stoppedStatus() };
    if (error instanceof WorkerCrash && this.#job.attempts < ATTEMPTS) return { status: "queued", error: error.line };
    return { status: "failed", error: lineOf(error) };
  }

  /** Ends a job whose events the store could not take; where it takes not even that, the job counts as interrupted. */
  #giveUp(error: unknown): unknown {
    try {
      this.#end({ status: "failed", error: lineOf(error) });
    } catch {
      // The first refusal says why, and it is thrown.
    }
    return error;
  }

  #stoppedStatus(): "cancelled" | "queued" {
    return this.#cancelRequested ? "cancelled" : (this.#options.whenStopped ?? "cancelled");
  }

  #end(end: JobEnd): void {
    this.#store.transaction(() => {
      if (this.#progress !== undefined) this.#store.beat(this.#job.id, this.#progress);
      if (this.#store.endJob(this.#job.id, end)) this.#kind?.settle?.(this.#store, this.#job, end);
    });
  }
}

function lineOf(error: unknown): string {
  return error instanceof HeadscopeError ? error.line : String((error as Error)?.message ?? error);
}

function isProgress(event: unknown): event is { event: "progress" } & JobProgress {
  return (event as { event?: unknown } | null)?.event === "progress";
}
