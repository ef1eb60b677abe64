import { HeadscopeError } from "../../common/errors.ts";
import type { Queue } from "../../jobs/queue.ts";
import type { Job, Store } from "../../store/store.ts";
import type { Context } from "../context.ts";
import { integerParser } from "../options.ts";
import { withStore } from "../store.ts";
import { jobsText } from "../text/jobs.ts";

const jobId = integerParser("a job's id", 1);

/** Prints the jobs. */
export async function listJobs(context: Context): Promise<void> {
  const jobs = await withStore((store) => store.jobs().map((job) => ({ ...job, status: store.shownJobStatus(job) })));
  await context.print(jobs, () => jobsText(jobs));
}

/** Stops a job, which can be resumed. */
export async function cancelJob(context: Context, _: object, id: string): Promise<void> {
  const job = await withQueue((queue) => queue.cancel(jobId(id)));
  await context.print(job, () => cancelText(job));
}

/** Goes on with a job here. */
export async function resumeJob(context: Context, _: object, id: string): Promise<void> {
  const job = await withQueue(async (queue, store) => {
    const resumed = queue.resume(jobId(id), { keep: true });
    await queue.workOn(resumed.id, {
      signal: context.signal,
      onProgress: (_, { done, total, label }) => context.progress(done, total, label),
    });
    return store.job(resumed.id);
  });
  if (job.status === "cancelled")
    throw new HeadscopeError("cancelled", `job ${job.id} was cancelled`, {
      remedy: `headscope jobs resume ${job.id} goes on with it`,
    });
  await context.print(job, () => `Job ${job.id} is ${job.status}.`);
}

/** Removes a job that has ended from the list. */
export async function removeJob(context: Context, _: object, id: string): Promise<void> {
  const job = jobId(id);
  await withQueue((queue) => queue.remove(job));
  await context.print({ removed: job }, () => `Job ${job} is removed.`);
}

/** Uses a queue over the kinds of jobs, which the list of jobs does without. */
async function withQueue<T>(work: (queue: Queue, store: Store) => T | Promise<T>): Promise<T> {
  const { Queue } = await import("../../jobs/queue.ts");
  const { kinds } = await import("../../jobs/kinds/index.ts");
  return withStore((store) => work(new Queue(store, { kinds }), store));
}

function cancelText({ id, status, cancel, owner }: Job): string {
  if (status === "cancelled") return `Job ${id} is cancelled; headscope jobs resume ${id} goes on with it.`;
  if (cancel) return `Job ${id} is asked to stop: process ${owner?.pid} ends it at the next good point.`;
  return `Job ${id} is ${status} already.`;
}
