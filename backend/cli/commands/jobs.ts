import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import type { Queue } from "../../jobs/queue.ts";
import type { Job, Store } from "../../store/store.ts";
import { runs } from "../context.ts";
import { withStore } from "../open-store.ts";
import { integer } from "../options.ts";

/** `headscope jobs list | cancel | resume | rm`. */
export function register(program: Command): void {
  const command = program.command("jobs").description("list, cancel, resume and remove long work");

  runs(command.command("list").description("list the jobs"), async (context) => {
    const { jobsText } = await import("../text/jobs.ts");
    const shown = await withStore((store) =>
      store.jobs().map((job) => ({ ...job, status: store.shownJobStatus(job) })),
    );
    await context.print(shown, () => jobsText(shown));
  });

  runs(command.command("cancel <id>").description("stop a job; it can be resumed"), async (context, _, id) => {
    const job = await withQueue((queue) => queue.cancel(jobId(id!)));
    await context.print(job, () => cancelText(job));
  });

  runs(
    command.command("resume <id>").description("go on with a job that failed, was cancelled or interrupted"),
    async (context, _, id) => {
      const job = await withQueue(async (queue, store) => {
        const resumed = queue.resume(jobId(id!), { keep: true });
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
    },
  );

  runs(
    command.command("rm <id>").description("remove a job that has ended from the list; what it made stays"),
    async (context, _, id) => {
      const job = jobId(id!);
      await withQueue((queue) => queue.remove(job));
      await context.print({ removed: job }, () => `Job ${job} is removed.`);
    },
  );
}

async function withQueue<T>(work: (queue: Queue, store: Store) => T | Promise<T>): Promise<T> {
  const { Queue } = await import("../../jobs/queue.ts");
  const { kinds } = await import("../../jobs/kinds/index.ts");
  return withStore((store) => work(new Queue(store, { kinds }), store));
}

const jobId = integer("a job's id", 1);

function cancelText({ id, status, cancel, owner }: Job): string {
  if (status === "cancelled") return `Job ${id} is cancelled; headscope jobs resume ${id} goes on with it.`;
  if (cancel) return `Job ${id} is asked to stop: process ${owner?.pid} ends it at the next good point.`;
  return `Job ${id} is ${status} already.`;
}
