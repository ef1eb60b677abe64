import { probes as probeRegistry } from "../../probes/index.ts";
import { tasks } from "../../synthetic-tasks/index.ts";
import { parameterText } from "../common/command-line.ts";
import { errorAt, HeadscopeError } from "../common/errors.ts";
import type { JobProgress, RunRecord, Store } from "../store/store.ts";
import { makeSpec, type TrainSpec } from "../training/spec.ts";
import type { WorkerOptions } from "./client.ts";
import { train } from "./kinds/train.ts";
import { Queue } from "./queue.ts";
import { runsFor } from "./reuse.ts";
import { fieldOf, type Sweep, sweepPoints, varied } from "./sweep-file.ts";
import { trainRuns } from "./train-runs.ts";

/** A point of a sweep: values of its varied parameters, and the complete specification. */
export interface SweepPoint {
  readonly values: Readonly<Record<string, unknown>>;
  readonly spec: TrainSpec;
}

/** A sweep whose every point has been checked. */
export interface SweepPlan {
  readonly task: string;
  /** Names of the parameters that differ between points. */
  readonly varied: readonly string[];
  readonly seeds: readonly number[];
  readonly points: readonly SweepPoint[];
}

/** A trained run of a point. */
export interface SweepRun {
  readonly run: string;
  readonly seed: number;
  readonly status: RunRecord["status"];
  readonly step: number;
  /** Why it failed. */
  readonly error?: string | undefined;
  /** The last value of the loss and of every evaluation. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Result of a point: its runs, and over those that ended well the mean and the range of each metric. */
export interface SweepResult {
  readonly values: Readonly<Record<string, unknown>>;
  readonly runs: readonly SweepRun[];
  readonly metrics: Readonly<Record<string, { readonly mean: number; readonly min: number; readonly max: number }>>;
}

/** Options of a sweep's run. */
export interface SweepOptions {
  /** Cancels it; run again, it goes on where it was. */
  readonly signal?: AbortSignal | undefined;
  /** @param point index of the point that is being trained */
  readonly onProgress?: (point: number, progress: JobProgress) => void;
  /** Called when a point has been trained, has failed, or was found done. */
  readonly onPoint?: (point: number, result: SweepResult) => void;
  readonly worker?: WorkerOptions | undefined;
}

/**
 * Checks every point of a sweep before anything is trained.
 * @param label the file; errors start with it
 * @throws HeadscopeError `usage` or `input` naming the file, the field and what is wrong with it
 */
export function planSweep(sweep: Sweep, label: string): SweepPlan {
  const { seeds } = sweep;
  const task = within(`${label}: task`, () => tasks.get(sweep.task));
  const probes = sweep.probes ?? task.defaults?.probes ?? [];
  for (const name of probes) within(`${label}: probes`, () => probeRegistry.get(name));
  const names = varied(sweep);
  const points = sweepPoints(sweep, label).map((params): SweepPoint => {
    const values = Object.fromEntries(names.map((name) => [name, params[name]]));
    try {
      return { values, spec: makeSpec(task, params, { seeds: seeds.length, probes }) };
    } catch (error) {
      throw atField(error, sweep, label, values);
    }
  });
  return { task: task.name, varied: names, seeds, points };
}

function within<T>(place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw placed(error, place);
  }
}

/** An error about a parameter, with the place where the file has it; one about several, with the point that has them. */
function atField(error: unknown, sweep: Sweep, label: string, values: SweepPoint["values"]): unknown {
  const name = error instanceof HeadscopeError ? error.field : undefined;
  const field = typeof name === "string" ? fieldOf(sweep, name) : undefined;
  const point = describeValues(values);
  return placed(error, field !== undefined ? `${label}: ${field}` : point === "" ? label : `${label}: at ${point}`);
}

function placed(error: unknown, place: string): unknown {
  return error instanceof HeadscopeError ? errorAt(place, error) : error;
}

/** "n_heads=4 learning_rate=0.003"; empty where nothing varies. */
export function describeValues(values: Readonly<Record<string, unknown>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}=${parameterText(value)}`)
    .join(" ");
}

/**
 * Trains every point of a sweep, the seeds of a point together, one job a point. Points whose runs are done are not trained again;
 * interrupted ones go on from their last checkpoint. A point whose training fails does not stop the others.
 * @returns results in the order of the points
 * @throws HeadscopeError `cancelled` when `signal` stops it
 */
export async function runSweep(store: Store, plan: SweepPlan, options: SweepOptions = {}): Promise<SweepResult[]> {
  const { signal, onProgress, onPoint, worker } = options;
  const queue = new Queue(store, { kinds: [train] });
  const runs = enlist(store, queue, plan);
  const results: SweepResult[] = [];
  try {
    for (const [i, { values }] of plan.points.entries()) {
      signal?.throwIfAborted();
      const failure = await trained(store, runs[i]!, {
        signal,
        onProgress: (progress) => onProgress?.(i, progress),
        worker,
      });
      signal?.throwIfAborted();
      const result = resultOf(store, values, runs[i]!);
      // What no run has failed with is not this point's alone: another process has its runs, or the disk is full.
      if (failure !== undefined && result.runs.every(({ status }) => status !== "failed")) throw failure.error;
      results.push(result);
      onPoint?.(i, result);
    }
    return results;
  } finally {
    const jobs = new Set(runs.flat().map(({ id }) => store.run(id).job));
    for (const job of queue.list())
      if (job.status === "queued" && jobs.has(job.id) && !store.isHeld(job.id)) queue.cancel(job.id);
  }
}

async function trained(
  store: Store,
  runs: readonly RunRecord[],
  options: Parameters<typeof trainRuns>[2],
): Promise<{ error: unknown } | undefined> {
  try {
    await trainRuns(store, runs, { ...options, whenBusy: "wait" });
    return undefined;
  } catch (error) {
    return { error };
  }
}

/** The runs of each point, new where there are none, and a job in the queue for those that are new, so that others see what is to come. */
function enlist(store: Store, queue: Queue, plan: SweepPlan): RunRecord[][] {
  return store.transaction(() => {
    const groups = runsFor(
      store,
      plan.points.map(({ spec }) => spec),
      plan.seeds,
    );
    for (const runs of groups) {
      const fresh = runs.filter(({ status, job }) => status === "queued" && job === undefined);
      if (fresh.length === 0) continue;
      const job = queue.add(train.name, { runs: fresh.map(({ id }) => id) }, { keep: true });
      for (const { id } of fresh) store.updateRun(id, { job: job.id });
    }
    return groups;
  });
}

/** A point's result from the store. */
function resultOf(store: Store, values: SweepPoint["values"], records: readonly RunRecord[]): SweepResult {
  const runs = records.map(({ id }): SweepRun => {
    const { seed, status, step, error } = store.run(id);
    const last = [...store.lastMetrics(id)].flatMap(
      ([name, { value }]) => (name.includes("[") ? [] : [[name, value] as const]), // scores of single heads
    );
    const metrics = Object.fromEntries(last.sort(([a], [b]) => order(a).localeCompare(order(b))));
    return { run: id, seed, status, step, error, metrics };
  });
  const done = runs.filter(({ status }) => status === "done");
  const names = [...new Set(done.flatMap(({ metrics }) => Object.keys(metrics)))];
  const metrics = names.map((name) => {
    const all = done.flatMap(({ metrics }) => metrics[name] ?? []);
    const mean = all.reduce((a, b) => a + b, 0) / all.length;
    return [name, { mean, min: Math.min(...all), max: Math.max(...all) }] as const;
  });
  return { values, runs, metrics: Object.fromEntries(metrics) };
}

/** The training loss first. */
function order(metric: string): string {
  return metric === "loss" ? "" : metric;
}
