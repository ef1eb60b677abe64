import type { ProbeSettings } from "../backend/circuits/vectors/linear-probe.ts";
import type { ProbeTargets } from "../backend/circuits/vectors/probe-layer.ts";
import { rowProbe } from "../backend/circuits/vectors/row-probe.ts";
import type { LinearProbe } from "../backend/common/api/linear-probes.ts";
import { HeadscopeError, unknownName } from "../backend/common/errors.ts";
import { Random } from "../backend/common/random.ts";
import type { Model } from "../backend/models/model.ts";
import {
  type Batch,
  type ProbeTarget,
  rowOf,
  type SyntheticTask,
  type TargetTable,
  targetWidth,
} from "../backend/training/task.ts";

/** Stream of a seed that no batch of a training is drawn from. */
const STREAM = 0xd0000000;

/** The task that a model was trained on. */
export interface TrainedTask {
  readonly task: SyntheticTask;
  /** The task's parameters, complete. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Seed of the run, which decides what a task draws once. */
  readonly seed: number;
}

/** A question about what can be read from the activations of a task's sequences. */
export interface TaskProbeOptions extends ProbeSettings {
  /** A target of the task; `label` is what its loss asks for. */
  readonly target: string;
  /** Sequences, default 1,024. */
  readonly rows?: number;
  /**
   * Position that is read, negative ones from the end; "scored": the last one whose prediction counts; "mean": the mean over all,
   * with the target of the last. Default "scored".
   */
  readonly position?: number | "scored" | "mean";
}

/** The target that every task has: classes or values that its loss asks for. */
function label(task: SyntheticTask): ProbeTarget<Record<string, unknown>, unknown> {
  return {
    title: "what the loss asks for",
    at(_, params, batch) {
      const { positions, scored, output } = task.shape(params);
      const width = targetWidth(output);
      const each = batch.rows * positions;
      const source = (at: number): number | undefined => {
        if (scored === "all") return batch.weights[at] === 0 ? undefined : at;
        return at % positions === positions - 1 ? Math.floor(at / positions) : undefined;
      };
      if (output.kind === "classes") {
        const classes = Int32Array.from({ length: each }, (_, at) => batch.classes![source(at) ?? -1] ?? -1);
        return { kind: "classes", classes };
      }
      const values = Float64Array.from({ length: each * width }, (_, i) => {
        const from = source(Math.floor(i / width));
        return from === undefined ? Number.NaN : batch.values![from * width + (i % width)]!;
      });
      return { kind: "values", width, values };
    },
  };
}

/** Targets of a task by name, `label` first. */
export function probeTargets(task: SyntheticTask): Readonly<Record<string, ProbeTarget<never, never>>> {
  return { label: label(task), ...task.probeTargets } as Readonly<Record<string, ProbeTarget<never, never>>>;
}

/**
 * Linear probes by layer for a target of the task that a model was trained on, on fresh sequences.
 * @throws HeadscopeError for a target that the task does not have, a position where a row has none, and as `rowProbe` does
 */
export async function taskProbe(model: Model, trained: TrainedTask, options: TaskProbeOptions): Promise<LinearProbe> {
  const { target: name, rows = 1024, position = "scored", ...settings } = options;
  const { task, params, seed: runSeed } = trained;
  const targets = probeTargets(task);
  if (!Object.hasOwn(targets, name)) throw unknownName(`target of task ${task.name}`, name, Object.keys(targets));
  const world = task.world(params, runSeed);
  const batch = task.sample(world, params, new Random(settings.seed ?? 0, STREAM), rows);
  const { positions } = task.shape(params);
  const places = placesOf(batch, task.shape(params), position);
  const table = targets[name]!.at(world as never, params as never, batch);
  return rowProbe(model, {
    ...settings,
    rows: { rows, positions, ...(batch.tokens ? { tokens: batch.tokens } : { inputs: batch.inputs! }) },
    places: position === "mean" ? "mean" : places,
    targets: targetsAt(table, places, positions, name),
  });
}

/** The position of each row whose target is meant. */
function placesOf(
  batch: Batch,
  { positions, scored }: { positions: number; scored: "all" | "last" },
  position: number | "scored" | "mean",
): number[] {
  const all = Array.from({ length: batch.rows }, (_, row) => row);
  if (position === "scored" && scored === "all")
    return all.map((row) => rowOf(batch, row).weights.findLastIndex((weight) => weight > 0));
  const place = typeof position === "string" ? positions - 1 : position < 0 ? positions + position : position;
  if (place >= 0 && place < positions) return all.map(() => place);
  throw new HeadscopeError("usage", `sequences have ${positions} positions, none at ${position}`, {
    remedy: `give one from 0 to ${positions - 1}, scored, or mean`,
    field: "position",
  });
}

function targetsAt(table: TargetTable, places: readonly number[], positions: number, name: string): ProbeTargets {
  const missing = (place: number): HeadscopeError =>
    new HeadscopeError("usage", `target ${name} has no value at position ${place} of a sequence`, {
      remedy: "read the position scored",
      field: "position",
    });
  if (table.kind === "classes") {
    const labels = places.map((place, row) => {
      const own = table.classes[row * positions + place]!;
      if (own < 0) throw missing(place);
      return own;
    });
    return { kind: "classes", labels };
  }
  const rows = places.map((place, row) => {
    const from = (row * positions + place) * table.width;
    const own = table.values.subarray(from, from + table.width);
    if (own.some(Number.isNaN)) throw missing(place);
    return own;
  });
  return { kind: "values", rows };
}
