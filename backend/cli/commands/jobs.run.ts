import { HeadscopeError } from "../../common/errors.ts";
import { kinds } from "../../jobs/kinds/index.ts";
import { Queue } from "../../jobs/queue.ts";
import type { Job } from "../../store/store.ts";
import type { Context } from "../context.ts";
import { integer } from "../options.ts";
import { withStore } from "../store.ts";
import { jobsText } from "../text/jobs.ts";

const jobId = integer("a job's id", 1);

/** Prints the jobs. */
export async function listJobs(context: Context): Promise<void> {
  const shown = await withStore((store) => store.jobs().map((job) => ({ ...job, status: store.shownJobStatus(job) })));
  await context.print(shown, () => jobsText(shown));
}

/** Stops a job, which can be resumed. */
export async function cancelJob(context: Context, _: object, id: string): Promise<void> {
  const job = await withStore((store) => new Queue(store, { kinds }).cancel(jobId(id)));
  await context.print(job, () => cancelText(job));
}

/** Goes on with a job here. */
export async function resumeJob(context: Context, _: object, id: string): Promise<void> {
  const job = await withStore(async (store) => {
    const queue = new Queue(store, { kinds });
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
  await withStore((store) => new Queue(store, { kinds }).remove(job));
  await context.print({ removed: job }, () => `Job ${job} is removed.`);
}

function cancelText({ id, status, cancel, owner }: Job): string {
  if (status === "cancelled") return `Job ${id} is cancelled; headscope jobs resume ${id} goes on with it.`;
  if (cancel) return `Job ${id} is asked to stop: process ${owner?.pid} ends it at the next good point.`;
  return `Job ${id} is ${status} already.`;
}
