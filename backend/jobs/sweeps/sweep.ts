import { probes as probeRegistry } from "../../../probes/index.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { parameterText } from "../../common/command-line.ts";
import { errorAt, HeadscopeError } from "../../common/errors.ts";
import type { SweepAxis } from "../../common/figures/phase-diagram.ts";
import type { JobProgress, RunRecord, Store } from "../../store/store.ts";
import { makeSpec, type TrainSpec } from "../../training/spec.ts";
import { train } from "../kinds/train.ts";
import { Queue } from "../queue.ts";
import { runsFor } from "../reuse.ts";
import { enlist, trainRuns } from "../train-runs.ts";
import type { WorkerOptions } from "../worker-process.ts";
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
  const { signal, onPoint, worker } = options;
  const queue = new Queue(store, { kinds: [train], worker });
  const { runs, jobs } = enlistAll(store, plan);
  const progress = new SweepProgress(plan, runs, options.onProgress);
  const results = new Map<number, SweepResult>();
  const finish = (i: number): SweepResult => {
    const ids = runs[i]!.map(({ id }) => id);
    const result = resultOf(store, plan.points[i]!.values, ids);
    results.set(i, result);
    progress.finished(i);
    onPoint?.(i, result);
    return result;
  };
  try {
    signal?.throwIfAborted();
    // One process for all of them: what a step of one shape needs is compiled once.
    if (jobs.size > 0)
      await queue.work({
        only: [...jobs.keys()],
        signal,
        onProgress: ({ id }, told) => progress.tell(jobs.get(id)!, told),
        onEnd({ id, status }) {
          const i = jobs.get(id)!;
          if (status === "queued") return; // its worker crashed, and it is tried once more
          jobs.delete(id);
          if (signal?.aborted !== true && ![...jobs.values()].includes(i)) finish(i);
        },
      });
    for (const i of plan.points.keys()) {
      signal?.throwIfAborted();
      if (results.has(i)) continue;
      const failure = await trained(store, runs[i]!, { signal, onProgress: (told) => progress.tell(i, told), worker });
      signal?.throwIfAborted();
      const result = finish(i);
      // What no run has failed with is not this point's alone: another process has its runs, or the disk is full.
      if (failure !== undefined && result.runs.every(({ status }) => status !== "failed")) throw failure.error;
    }
    return [...plan.points.keys()].map((i) => results.get(i)!);
  } finally {
    const waiting = new Set(runs.flat().map(({ id }) => store.run(id).job));
    for (const job of queue.list())
      if (job.status === "queued" && waiting.has(job.id) && !store.isHeld(job.id)) queue.cancel(job.id);
  }
}

/** The progress of a sweep as one whole, in steps of one layer and one seed of the runs that are not done; it never goes back. */
class SweepProgress {
  readonly #label: string;
  /** By point. */
  readonly #work: readonly number[];
  readonly #finished = new Set<number>();
  readonly #tell: SweepOptions["onProgress"];

  constructor({ task, points }: SweepPlan, runs: readonly (readonly RunRecord[])[], tell: SweepOptions["onProgress"]) {
    this.#label = `training ${task}`;
    this.#tell = tell;
    this.#work = points.map(({ spec }, i) => {
      const waiting = runs[i]!.filter(({ status }) => status !== "done").length;
      return waiting * spec.training.steps * spec.model.n_layers;
    });
  }

  /** Takes how far the training of a point is. */
  tell(point: number, { done, total, values }: JobProgress): void {
    const before = sum([...this.#finished].map((i) => this.#work[i]!));
    const share = total > 0 && !this.#finished.has(point) ? done / total : 0;
    const whole = Math.round(before + share * this.#work[point]!);
    this.#tell?.(point, { done: whole, total: sum(this.#work), label: this.#label, values });
  }

  finished(point: number): void {
    this.#finished.add(point);
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

/**
 * The runs of each point, new where there are none, and jobs in the queue for all that are to be trained and that no living process
 * has, so that others see what is to come.
 * @returns `jobs`: the point of each job
 */
function enlistAll(store: Store, plan: SweepPlan): { runs: RunRecord[][]; jobs: Map<number, number> } {
  return store.transaction(() => {
    const specs = plan.points.map(({ spec }) => spec);
    const runs = runsFor(store, specs, plan.seeds);
    const jobs = new Map<number, number>();
    for (const [i, own] of runs.entries())
      for (const group of new Set(own.filter(({ status }) => status !== "done").map((run) => run.group))) {
        const held = store.runs({ group }).some(({ job }) => job !== undefined && store.isHeld(job));
        const job = held ? undefined : enlist(store, group, { keep: true });
        if (job !== undefined) jobs.set(job.id, i);
      }
    return { runs, jobs };
  });
}
