import { z } from "zod";
import { checkJob, jobRequest } from "../job-requests.ts";
import { limited } from "../problems.ts";
import { route } from "../route.ts";

const id = z.object({ id: z.coerce.number().int().min(1) });

export const jobRoutes = [
  route({
    method: "get",
    path: "/jobs",
    summary: "Long work: waiting, running and ended",
    answer: { description: "A list of JobSummary, in the order in which they were added" },
    handle: (_, { store, jobs }) => store.jobs().map((job) => jobs.summary(job)),
  }),
  route({
    method: "post",
    path: "/jobs",
    summary: "Asks for long work: probes, a probe over a run's checkpoints, needle questions, an experiment, a model",
    body: jobRequest,
    size: "documentBytes",
    answer: { status: 202, description: "JobSummary" },
    async handle({ body }, context) {
      const { store, queue, jobs, limits, watcher } = context;
      const spec = await checkJob(body, context);
      if (store.jobs({ status: "queued" }).length >= limits.queuedJobs)
        throw limited(429, `${limits.queuedJobs} jobs wait already`, "wait for them, or cancel some");
      const job = queue.add(spec.kind, spec);
      watcher.changed();
      return jobs.summary(job);
    },
  }),
  route({
    method: "get",
    path: "/jobs/:id",
    summary: "One job",
    params: id,
    answer: { description: "JobSummary" },
    handle: ({ params }, { store, jobs }) => jobs.summary(store.job(params.id)),
  }),
  route({
    method: "delete",
    path: "/jobs/:id",
    summary: "Stops a job: at once where it waits, else at its next good point; it can be resumed",
    params: id,
    answer: { status: 202, description: "JobSummary" },
    handle({ params }, { store, queue, jobs, watcher }) {
      queue.cancel(params.id);
      watcher.changed();
      return jobs.summary(store.job(params.id));
    },
  }),
  route({
    method: "post",
    path: "/jobs/:id/resume",
    summary: "Goes on with a job that failed, was cancelled or interrupted",
    params: id,
    answer: { status: 202, description: "JobSummary" },
    handle({ params }, { store, queue, jobs, watcher }) {
      queue.resume(params.id);
      watcher.changed();
      return jobs.summary(store.job(params.id));
    },
  }),
];
