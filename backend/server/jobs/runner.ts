import { setTimeout as sleep } from "node:timers/promises";
import type { Queue } from "../../jobs/queue.ts";
import { Remaining } from "../../jobs/remaining.ts";
import { problems } from "../../setup/terminal.mjs";
import type { JobEntry, JobProgress, Store } from "../../store/store.ts";
import { jobSummary, type KnownJob } from "./summaries.ts";

/** Milliseconds after which an empty queue is looked at again. */
const POLL = 250;
/** Milliseconds until the queue is worked on again after the store refused, such as on a full disk. */
const PAUSE = 5_000;
/** Jobs at a time, each in a process of its own. */
const CONCURRENCY = 2;

/** State of a job at work beyond what the store has. */
interface Live {
  /** True where this process works on it, and knows more than the store. */
  readonly own: boolean;
  progress: JobProgress;
  readonly remaining: Remaining;
}

/** Works on the queue in processes of their own, for as long as the server lives; stopped jobs stay in the queue. */
export class JobRunner {
  readonly #store: Store;
  readonly #live = new Map<number, Live>();
  readonly #stop = new AbortController();
  readonly #working: Promise<void>;

  /** @param changed called when something of a job or its runs has changed */
  constructor(store: Store, queue: Queue, changed: () => void) {
    this.#store = store;
    this.#working = this.#work(queue, changed);
  }

  /** A job as the API shows it. */
  summary(job: JobEntry): KnownJob {
    const live = job.status === "running" ? this.#live.get(job.id) : undefined;
    return jobSummary(this.#store, job, {
      // Of another process's job the store knows the newest.
      progress: live?.own === true ? live.progress : undefined,
      remaining: live?.remaining.milliseconds(Date.now()),
    });
  }

  /** Takes what another process tells of its job, for the time that it will take. */
  watch(job: JobEntry): void {
    if (this.#live.get(job.id)?.own) return;
    if (job.status !== "running") this.#live.delete(job.id);
    else if (job.progress !== undefined) this.#push(job, job.progress, false);
  }

  /** Stops the jobs that run, and leaves them in the queue. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#working;
  }

  #push({ id }: Pick<JobEntry, "id">, progress: JobProgress, own: boolean): void {
    const live = this.#live.get(id) ?? { own, progress, remaining: new Remaining() };
    live.progress = progress;
    live.remaining.push(progress, Date.now());
    this.#live.set(id, live);
  }

  async #work(queue: Queue, changed: () => void): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await queue.work({
          poll: POLL,
          concurrency: CONCURRENCY,
          whenStopped: "queued",
          signal,
          onProgress: (job, progress) => {
            this.#push(job, progress, true);
            changed();
          },
          onEvent: changed,
          onEnd: ({ id }) => {
            this.#live.delete(id);
            changed();
          },
        });
      } catch (error) {
        // The store refused: the jobs wait until it takes things again.
        void problems.line(`headscope: the queue rests for ${PAUSE / 1000} s: ${(error as Error).message}`);
        await sleep(PAUSE, undefined, { signal }).catch(() => {});
      }
    }
  }
}
