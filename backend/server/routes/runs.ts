import { z } from "zod";
import { evenScores, probes } from "../../../probes/index.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { shortName } from "../../common/api/fields.ts";
import {
  type RunCurves,
  type RunDetail,
  runCurves,
  runDetail as runDetailSchema,
  runSummarySchema,
  trainingSchema,
  trainRequest,
} from "../../common/api/runs.ts";
import { type RunReference, runReference, taskSample, taskSampleRequest } from "../../common/api/task-samples.ts";
import { command, parameterPairs } from "../../common/command-line.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { measureName } from "../../common/heads/head-metric.ts";
import { enlist } from "../../jobs/train-runs.ts";
import { checkpointSteps } from "../../paths.ts";
import type { RunRecord } from "../../store/store.ts";
import { makeSpec, modelConfigOf, trainFlags } from "../../training/spec.ts";
import type { ServerContext } from "../context.ts";
import { route } from "../http/route.ts";
import { runSummary } from "../jobs/summaries.ts";

const id = z.object({ id: shortName });

export const runRoutes = [
  route({
    method: "get",
    path: "/runs",
    summary: "Training runs, in the order in which they were made",
    answer: { description: "A list of RunSummary", schema: z.array(runSummarySchema) },
    handle: (_, { store }) => store.runs().map((run) => runSummary(store, run)),
  }),
  route({
    method: "post",
    path: "/runs",
    summary: "Trains: one run a seed, together in one job",
    body: trainRequest,
    answer: { status: 202, description: "{ job: JobSummary, runs: RunSummary[] }", schema: trainingSchema },
    handle({ body: { task: name, params, seeds = [0], probes: asked } }, context) {
      const { store } = context;
      const task = tasks.get(name);
      const measured = asked ?? task.defaults?.probes ?? [];
      for (const probe of measured) probes.get(probe);
      const distinct = [...new Set(seeds)];
      const spec = makeSpec(task, params, { seeds: distinct.length, probes: measured });
      // Together: where the queue takes no more, no run is left behind that nobody trains.
      return store.transaction(() => train(context, store.createRuns(spec, distinct)[0]!.group));
    },
  }),
  route({
    method: "post",
    path: "/runs/:id/resume",
    summary: "Goes on with a run that was stopped, and with those that are trained together with it",
    params: id,
    answer: { status: 202, description: "{ job: JobSummary, runs: RunSummary[] }", schema: trainingSchema },
    handle: ({ params }, context) => train(context, context.store.run(params.id).group),
  }),
  route({
    method: "delete",
    path: "/runs/:id",
    summary: "Removes a run with its curves and checkpoints",
    params: id,
    answer: { status: 204, description: "Nothing" },
    handle({ params }, { store, watcher }) {
      store.removeRun(params.id);
      watcher.changed();
    },
  }),
  route({
    method: "get",
    path: "/runs/:id",
    summary: "One run: its specification, checkpoints and last measurements",
    params: id,
    answer: { description: "RunDetail", schema: runDetailSchema },
    handle: ({ params }, context) => runDetail(context, context.store.run(params.id)),
  }),
  route({
    method: "get",
    path: "/runs/:id/reference",
    summary:
      "The task's reference predictor on the rows on which a run is evaluated: the best there is, or a stated rule",
    params: id,
    answer: { description: "RunReference: loss and, of classes, accuracy by evaluation", schema: runReference },
    async handle({ params, signal, caller }, { store, interactive }): Promise<RunReference> {
      const { task, spec, seed } = store.run(params.id);
      if (!tasks.names().includes(task)) return { evaluations: {} };
      return interactive.ask("run-reference", { spec, seed }, { signal, caller, long: true });
    },
  }),
  route({
    method: "post",
    path: "/task-samples",
    summary: "Sequences of a task that models are trained on, in words",
    body: () => taskSampleRequest,
    answer: { description: "TaskSample", schema: taskSample },
    handle({ body, signal, caller }, { interactive }) {
      tasks.parse(body.task, body.params);
      return interactive.ask("task-sample", body, { signal, caller, long: true });
    },
  }),
  route({
    method: "get",
    path: "/runs/:id/metrics",
    summary: "The curves of a run",
    params: id,
    answer: {
      description: "RunCurves: by name, [step, value] ascending; null where a value was not a number",
      schema: runCurves,
    },
    handle: ({ params }, { store }): RunCurves =>
      Object.fromEntries(
        [...store.metrics(params.id)].map(([name, points]) => [
          name,
          points.map(({ step, value }) => [step, finite(value)] as const),
        ]),
      ),
  }),
];

function train({ store, jobs, watcher }: ServerContext, group: string) {
  const job = enlist(store, group);
  if (job === undefined)
    throw new HeadscopeError("usage", `the runs of ${group} are done`, { remedy: "there is nothing to go on with" });
  watcher.changed();
  return { job: jobs.summary(job), runs: store.runs({ group }).map((run) => runSummary(store, run)) };
}

function runDetail({ store, folder }: ServerContext, run: RunRecord): RunDetail {
  const { task, params, model, training, probes } = run.spec;
  const last = [...store.lastMetrics(run.id)].map(([name, { value }]) => [name, finite(value)]);
  return {
    ...runSummary(store, run),
    spec: { task, params, model, training, probes },
    checkpoints: checkpointSteps(run.id, folder),
    last: Object.fromEntries(last) as RunDetail["last"],
    command: trainCommand(run),
    ...evaluations(run),
  };
}

/** Titles and chance of a run's measurements; nothing where its task is no more. */
function evaluations({ task: name, spec }: RunRecord): Pick<RunDetail, "evaluations" | "evenScores"> {
  if (!tasks.names().includes(name)) return {};
  const task = tasks.get(name);
  const list = Object.entries(task.evaluations).map(([key, { title, chance }]) => {
    return [key, { title, chance: chance?.(spec.params) }];
  });
  const config = modelConfigOf(spec.model, task.shape(spec.params));
  const even = spec.probes
    .filter((probe) => probes.names().includes(probe))
    .flatMap((probe) =>
      Object.entries(evenScores(probe, config)).map(([metric, value]) => [measureName(probe, metric), value]),
    );
  return { evaluations: Object.fromEntries(list), evenScores: Object.fromEntries(even) };
}

/** The command line that trains a run again: what differs from the task's defaults. */
export function trainCommand({ task, seed, spec }: Pick<RunRecord, "task" | "seed" | "spec">): string {
  if (spec.soup) return command(["runs", "soup", ...spec.soup]);
  const flags = tasks.names().includes(task) ? [...tasks.flags(task), ...trainFlags(tasks.get(task))] : [];
  const defaults = new Map(flags.map((flag) => [flag.name, flag.default]));
  const settings = Object.entries({ ...spec.params, ...spec.model, ...spec.training }).filter(
    ([name, value]) => value !== undefined && JSON.stringify(value) !== JSON.stringify(defaults.get(name)),
  );
  const usual = tasks.names().includes(task) ? (tasks.get(task).defaults?.probes ?? []) : [];
  return command(["train", task], {
    param: parameterPairs(Object.fromEntries(settings)),
    seed: seed === 0 ? undefined : seed,
    probes: spec.probes.join() === usual.join() ? undefined : spec.probes.join(",") || "none",
  });
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
