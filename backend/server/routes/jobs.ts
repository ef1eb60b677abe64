import { z } from "zod";
import { type Bounds, ordinal } from "../../common/api/fields.ts";
import { jobSummarySchema } from "../../common/api/jobs.ts";
import { hasEnded } from "../../common/words.ts";
import type { RequestedKind } from "../../jobs/kind.ts";
import { kinds, requestedKinds } from "../../jobs/kinds/index.ts";
import type { ServerContext } from "../context.ts";
import { route } from "../http/route.ts";

const id = z.object({ id: ordinal });
const requested: readonly RequestedKind[] = requestedKinds;

/** A job with the result that its kind has; jobs of earlier versions stay in the list with theirs. */
const job = jobSummarySchema.extend({
  result: z.union([...kinds.map(({ result }) => result), z.unknown()]).optional(),
});

/** A request of one of the kinds of jobs. */
function jobRequest(bounds: Bounds) {
  const [first, ...others] = requested.map((kind) => kind.request(bounds));
  return z.discriminatedUnion("kind", [first!, ...others]);
}

export const jobRoutes = [
  route({
    method: "get",
    path: "/jobs",
    summary: "Long work: waiting, running and ended",
    answer: {
      description: "A list of JobSummary, in the order in which they were added",
      schema: z.array(job),
    },
    handle: (_, { store, jobs }) => store.jobs().map((entry) => jobs.summary(entry)),
  }),
  route({
    method: "post",
    path: "/jobs",
    summary:
      "Asks for long work: probes, a probe over a run's checkpoints, needle questions, an evaluation of policies, an experiment, a sweep, a model",
    body: jobRequest,
    answer: { status: 202, description: "JobSummary", schema: job },
    async handle({ body }, context) {
      const { queue, jobs, watcher } = context;
      const kind = requested.find(({ name }) => name === body.kind)!;
      const added = queue.add(kind.name, await kind.check(body, context));
      watcher.changed();
      return jobs.summary(added);
    },
  }),
  route({
    method: "get",
    path: "/jobs/:id",
    summary: "One job",
    params: id,
    answer: { description: "JobSummary", schema: job },
    handle: ({ params }, { store, jobs }) => jobs.summary(store.jobEntry(params.id)),
  }),
  route({
    method: "delete",
    path: "/jobs/:id",
    summary: "Stops a job that waits or runs (202), as POST …/cancel does; removes one that has ended (204)",
    params: id,
    answer: {
      status: 202,
      description: "JobSummary; nothing where the job had ended and is removed",
      schema: job,
      empty: "Nothing: the job had ended, and is removed",
    },
    handle({ params }, context) {
      if (hasEnded(context.store.jobEntry(params.id).status)) {
        context.queue.remove(params.id);
        context.watcher.changed();
        return undefined;
      }
      return cancel(params.id, context);
    },
  }),
  route({
    method: "post",
    path: "/jobs/:id/cancel",
    summary: "Stops a job: at once where it waits, else at its next good point; it can be resumed",
    params: id,
    answer: { status: 202, description: "JobSummary", schema: job },
    handle: ({ params }, context) => cancel(params.id, context),
  }),
  route({
    method: "post",
    path: "/jobs/:id/resume",
    summary: "Goes on with a job that failed, was cancelled or interrupted",
    params: id,
    answer: { status: 202, description: "JobSummary", schema: job },
    handle({ params }, { store, queue, jobs, watcher }) {
      queue.resume(params.id);
      watcher.changed();
      return jobs.summary(store.jobEntry(params.id));
    },
  }),
];

function cancel(id: number, { store, queue, jobs, watcher }: ServerContext) {
  queue.cancel(id);
  watcher.changed();
  return jobs.summary(store.jobEntry(id));
}
