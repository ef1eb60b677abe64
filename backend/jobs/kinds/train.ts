import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { probeMany } from "../../../probes/index.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { headMetricName, parseHeadMetric } from "../../common/heads/head-metric.ts";
import { ENDED } from "../../common/words.ts";
import type { Model } from "../../models/model.ts";
import { type RunCheckpoint, readRunCheckpoint, writeRunCheckpoint } from "../../models/sources/run-checkpoint.ts";
import { checkpointFile, checkpointSteps, runFolder } from "../../paths.ts";
import { initBackend } from "../../runtime/backend.ts";
import type { Job, RunRecord, Store } from "../../store/store.ts";
import { checkFits, readOrigin } from "../../training/origins/origin.ts";
import { modelConfigOf, type TrainSpec } from "../../training/spec.ts";
import { type Metrics, type TrainState, train as trainSeeds } from "../../training/train.ts";
import { isWatched, type SeedMeasurement } from "../../training/transition.ts";
import type { HandlerContext } from "../../workers/handler.ts";
import type { JobKind } from "../kind.ts";

/**
 * Form of what the worker's part takes: runs to be trained together, with the data folder for `checkpointFile(id, step, folder)`.
 * With `resume` they go on from the checkpoints of step `from`, which every run has and nothing lies after; `history` then holds
 * the measurements by which checkpoints are saved.
 */
const payload = z.object({
  spec: z.custom<TrainSpec>(),
  runs: z.array(
    z.object({
      id: z.string(),
      seed: z.number(),
      folder: z.string(),
      history: z.array(z.object({ step: z.number(), values: z.record(z.string(), z.number()) })).optional(),
    }),
  ),
  resume: z.boolean(),
  from: z.number().optional(),
});
export type TrainPayload = z.output<typeof payload>;

/** A training job: runs of one group. */
export interface TrainJob {
  readonly runs: readonly string[];
}

const step = z.int().min(0);
const value = z
  .number()
  .nullable()
  .transform((number) => number ?? Number.NaN); // JSON has no NaN

/**
 * Events of a training, as its worker tells of them. The metrics of a step come before its checkpoint, and a checkpoint's file is
 * whole before it is told of: a run that goes on from it then has its whole curve.
 */
export const trainEvent = z.discriminatedUnion("event", [
  z.object({ event: z.literal("metrics"), run: z.string(), step, values: z.record(z.string(), value) }),
  z.object({
    event: z.literal("checkpoint"),
    run: z.string(),
    step,
    file: z.string(),
    bytes: step,
    digest: z.string(),
  }),
  z.object({
    event: z.literal("status"),
    run: z.string(),
    step,
    status: z.enum(["running", ...ENDED]),
    error: z.string().optional(),
  }),
]);

/** An event of a training job. */
export type TrainEvent = z.output<typeof trainEvent>;

function runsOf(store: Store, job: Job): RunRecord[] {
  // A run may have been removed since.
  const { runs } = job.spec as TrainJob;
  return store.runs({ job: job.id }).filter(({ id }) => runs.includes(id));
}

/** Trains the runs of a group together; they go on where an earlier attempt left them. */
export const train = {
  name: "train",
  result: z.object({ step, status: z.enum(["done", "cancelled"]) }),
  title: ({ runs }) => `training ${runs.join(", ")}`,
  payload,
  run: trainTogether,

  prepare(store, job): TrainPayload {
    const runs = runsOf(store, job);
    const [first] = runs;
    if (first === undefined)
      throw new HeadscopeError("missing", `job ${job.id} has no runs any more`, { remedy: "train anew" });
    const from = lastCommonCheckpoint(store, runs);
    store.transaction(() => {
      for (const { id } of runs) {
        store.truncate(id, from ?? -1);
        store.updateRun(id, { status: "running", error: null });
      }
    });
    for (const { id } of runs) removeFilesAfter(id, from ?? -1, store.folder);
    return {
      spec: first.spec,
      runs: runs.map(({ id, seed }) => ({
        ...{ id, seed, folder: store.folder },
        history: from === undefined ? undefined : watchedHistory(store, id),
      })),
      resume: from !== undefined,
      from,
    };
  },

  apply(store, job, events) {
    const { runs } = job.spec as TrainJob;
    for (const emitted of events) {
      const event = trainEvent.parse(emitted);
      if (!runs.includes(event.run)) throw new Error(`job ${job.id} told of run ${event.run}, which is not its own`);
      if (event.event === "metrics") store.addMetrics(event.run, event.step, event.values);
      else if (event.event === "checkpoint") store.addCheckpoint(event.run, event);
      else store.updateRun(event.run, { status: event.status, step: event.step, error: event.error ?? null });
    }
  },

  settle(store, job, { status, error }) {
    for (const run of runsOf(store, job))
      if (run.status === "running" || run.status === "queued")
        store.updateRun(run.id, { status, error: status === "failed" ? (error ?? "unknown") : null });
  },
} as const satisfies JobKind<TrainJob, TrainPayload> & { readonly result: z.ZodType };

/** Measurements of a run by the metrics that ask for checkpoints, ascending by step. */
function watchedHistory(store: Store, id: string): SeedMeasurement[] {
  const steps = new Map<number, Record<string, number>>();
  for (const { name, step, value } of store.metricsAfter(id, -1)) {
    if (!isWatched(name) || !Number.isFinite(value)) continue;
    const values = steps.get(step) ?? {};
    values[name] = value;
    steps.set(step, values);
  }
  return [...steps].map(([step, values]) => ({ step, values }));
}

/**
 * The last step whose checkpoint every run has, as a row and as a file. A file without a row was written just before
 * the end of a process: the measurements before it may be lost, so the run does not go on from it.
 */
function lastCommonCheckpoint(store: Store, runs: readonly RunRecord[]): number | undefined {
  const [first, ...others] = runs.map(({ id }) =>
    store
      .checkpoints(id)
      .map((row) => row.step)
      .filter((each) => existsSync(checkpointFile(id, each, store.folder))),
  );
  return first!.filter((each) => others.every((steps) => steps.includes(each))).at(-1);
}

/** Takes away checkpoint files after a step, which training writes again, and files that a dead process half wrote. */
function removeFilesAfter(id: string, last: number, folder: string): void {
  for (const each of checkpointSteps(id, folder)) if (each > last) rmSync(checkpointFile(id, each, folder));
  const path = runFolder(id, folder);
  if (!existsSync(path)) return;
  for (const name of readdirSync(path)) if (name.endsWith(".part")) rmSync(join(path, name));
}

/** Trains the runs of a group in a worker and writes their checkpoints; what the store must know it tells. */
async function trainTogether(
  { spec, runs, resume, from }: TrainPayload,
  { emit, signal }: HandlerContext,
): Promise<{ step: number; status: "done" | "cancelled" }> {
  const task = tasks.get(spec.task);
  await initBackend();
  const config = modelConfigOf(spec.model, task.shape(spec.params));
  const bySeed = new Map(runs.map((run) => [run.seed, run]));
  const states = resume
    ? await Promise.all(
        runs.map(async ({ id, folder, history = [] }) => ({
          ...(await readState(checkpointFile(id, from!, folder), config)),
          history,
        })),
      )
    : undefined;
  let latest: Metrics = {};
  const { step, status } = await trainSeeds(
    task,
    spec,
    runs.map(({ seed }) => seed),
    {
      async onMetrics(step, seed, values) {
        latest = { ...latest, ...values };
        await emit({ event: "metrics", run: bySeed.get(seed)!.id, step, values });
      },
      async onCheckpoint(seed, { step, state, gradients, mask }) {
        const { id, folder } = bySeed.get(seed)!;
        const file = checkpointFile(id, step, folder);
        const [parameters, ...vectors] = state as [Float32Array, ...Float32Array[]];
        const saved = { step, seed, config, spec, gradients, parameters, vectors, mask };
        const written = await writeRunCheckpoint(file, saved);
        await emit({ event: "checkpoint", run: id, step, file, ...written });
      },
      onProgress(done, total, { loss }) {
        void emit({ event: "progress", done, total, label: "training", values: highlights(loss!, latest) });
      },
      measure: (model) => scores(model, spec.probes),
      signal,
    },
    { resume: states, origin: resume ? undefined : await originOf(spec) },
  );
  for (const { id } of runs) await emit({ event: "status", run: id, status, step });
  return { step, status };
}

async function readState(file: string, config: unknown): Promise<TrainState> {
  const checkpoint = await readRunCheckpoint(file);
  if (JSON.stringify(checkpoint.config) !== JSON.stringify(config))
    throw new HeadscopeError("mismatch", `${file} is of another model than its run`, { remedy: "train the run anew" });
  const { step, gradients, mask } = checkpoint;
  return { step, gradients, mask, state: [checkpoint.parameters, ...checkpoint.vectors] };
}

/** The checkpoint of another run that a training begins with; undefined where it begins with fresh weights. */
async function originOf({ model, params, task, training }: TrainSpec): Promise<RunCheckpoint | undefined> {
  if (training.from === undefined) return undefined;
  const origin = readOrigin(training.from);
  checkFits(modelConfigOf(model, tasks.get(task).shape(params)), origin);
  return readRunCheckpoint(origin.path);
}

/** Scores of all heads by probe, metric and head: `induction.induction[1.3]`. */
async function scores(model: Model, probes: readonly string[]): Promise<Metrics> {
  if (probes.length === 0) return {};
  const values: Record<string, number> = {};
  for (const { probe, metrics } of await probeMany(model, probes)) {
    for (const [metric, { values: table }] of Object.entries(metrics)) {
      table.forEach((row, layer) => {
        row.forEach((value, head) => {
          values[headMetricName(probe, metric, layer, head)] = value;
        });
      });
    }
  }
  return values;
}

/** Values that are told of with the progress: the loss, the accuracies, the best score of each probe. */
function highlights(loss: number, latest: Metrics): Record<string, number> {
  const values: Record<string, number> = { loss };
  for (const [name, value] of Object.entries(latest)) {
    const measured = parseHeadMetric(name);
    if (measured && measured.probe === measured.metric)
      values[measured.probe] = Math.max(values[measured.probe] ?? 0, value);
    else if (name.endsWith(".accuracy")) values[name.replace(".", " ")] = value;
  }
  return values;
}
