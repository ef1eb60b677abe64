import { probes as probeRegistry } from "../../../probes/index.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { parameterText } from "../../common/command-line.ts";
import { errorAt, HeadscopeError } from "../../common/errors.ts";
import type { SweepAxis } from "../../common/figures/phase-diagram.ts";
import type { JobProgress, RunRecord, Store } from "../../store/store.ts";
import { makeSpec, type TrainSpec } from "../../training/spec.ts";
import type { WorkerOptions } from "../client.ts";
import { train } from "../kinds/train.ts";
import { Queue } from "../queue.ts";
import { runsFor } from "../reuse.ts";
import { trainRuns } from "../train-runs.ts";
import { resultOf, type SweepResult } from "./results.ts";
import { fieldOf, type Sweep, sweepPoints, varied } from "./sweep-file.ts";

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
  /** The same parameters with all values that points have, each once, in the order of the points. */
  readonly axes: readonly SweepAxis[];
  readonly seeds: readonly number[];
  readonly points: readonly SweepPoint[];
}

/** Options of a sweep's run. */
export interface SweepOptions {
  /** Cancels it; run again, it goes on where it was. */
  readonly signal?: AbortSignal | undefined;
  /** Told how far the whole sweep is, in steps of one layer and one seed. @param point index of the point that is being trained */
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
    try {
      const spec = makeSpec(task, params, { seeds: seeds.length, probes });
      const all: Record<string, unknown> = { ...spec.params, ...spec.model, ...spec.training };
      return { values: Object.fromEntries(names.map((name) => [name, all[name]])), spec };
    } catch (error) {
      throw atField(error, sweep, label, Object.fromEntries(names.map((name) => [name, params[name]])));
    }
  });
  // What was written in two ways, such as 0.1 and 0.10, is one value.
  const unique = [...new Map(points.map((point) => [JSON.stringify(point.values), point])).values()];
  const axes = names.map((name) => {
    const values = unique.map((point) => [JSON.stringify(point.values[name]), point.values[name]] as const);
    return { name, values: [...new Map(values).values()] };
  });
  return { task: task.name, varied: names, axes, seeds, points: unique };
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
  const work = plan.points.map(({ spec }, i) => {
    const waiting = runs[i]!.filter(({ status }) => status !== "done").length;
    return waiting * spec.training.steps * spec.model.n_layers;
  });
  const total = sum(work);
  const results: SweepResult[] = [];
  try {
    for (const [i, { values }] of plan.points.entries()) {
      signal?.throwIfAborted();
      const failure = await trained(store, runs[i]!, {
        signal,
        onProgress({ done, total: steps, values }) {
          const share = steps > 0 ? done / steps : 0;
          const whole = Math.round(sum(work.slice(0, i)) + share * work[i]!);
          onProgress?.(i, { done: whole, total, label: `training ${plan.task}`, values });
        },
        worker,
      });
      signal?.throwIfAborted();
      const result = resultOf(
        store,
        values,
        runs[i]!.map(({ id }) => id),
      );
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

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
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
