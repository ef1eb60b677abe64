import { existsSync, rmSync } from "node:fs";
import { relative, resolve } from "node:path";
import { type HeadscopeError, unknownName } from "../common/errors.ts";
import type { Status } from "../common/words.ts";
import { runFolder, runIds } from "../paths.ts";
import type { MetricPoint } from "../training/record/curves.ts";
import type { TrainSpec } from "../training/spec.ts";
import type { Database, Row } from "./database.ts";
import { fileError } from "./file-error.ts";

/** One training of one seed. */
export interface RunRecord {
  /** "<task>-<n>"; n counts up and is never used again. */
  readonly id: string;
  readonly task: string;
  readonly status: Status;
  /** Last step that was told of. */
  readonly step: number;
  /** Steps that the run is to have. */
  readonly steps: number;
  readonly seed: number;
  /** Runs that are trained together share it: the id of the first. */
  readonly group: string;
  readonly spec: TrainSpec;
  /** Why it failed, as one line. */
  readonly error?: string | undefined;
  /** The job that trained it last. */
  readonly job?: number | undefined;
  /** ISO times. */
  readonly created: string;
  readonly updated: string;
}

/** Changes of a run; null takes a field away. */
export interface RunChanges {
  readonly status?: Status;
  readonly step?: number;
  readonly steps?: number;
  readonly error?: string | null;
  readonly job?: number | null;
  readonly spec?: TrainSpec;
}

/** Properties of the runs that are meant; all of them where nothing is said. */
export interface RunFilter {
  readonly task?: string;
  readonly status?: Status;
  readonly group?: string;
  readonly seed?: number;
  readonly job?: number;
}

/** A measurement with its name. */
export interface NamedPoint extends MetricPoint {
  readonly name: string;
}

/** A saved state of a run. */
export interface CheckpointRow {
  readonly step: number;
  /** Path of the file. */
  readonly file: string;
  readonly bytes: number;
  /** "sha256:…" of the file or its tensors, as its writer says. */
  readonly digest: string;
}

/** Runs, their curves and their checkpoints. Every method is one transaction. */
export interface RunStore {
  /** New runs of one specification, one a seed, all in one group. */
  createRuns(spec: TrainSpec, seeds: readonly number[]): RunRecord[];
  /** @throws HeadscopeError `usage` that lists the nearest ids */
  run(id: string): RunRecord;
  /** Runs in the order in which they were made. */
  runs(filter?: RunFilter): RunRecord[];
  /** @throws HeadscopeError `usage` for an unknown run */
  updateRun(id: string, changes: RunChanges): void;
  /**
   * Stores measurements after one step; those of the same step and name are replaced.
   * @param values come back bit for bit, but for -0, which SQLite keeps as 0
   */
  addMetrics(id: string, step: number, values: Readonly<Record<string, number>>): void;
  /** Curves by name, in the order of the names; each ascends by step. */
  metrics(id: string): Map<string, MetricPoint[]>;
  /** The measurements after a step, ascending by step. */
  metricsAfter(id: string, step: number): NamedPoint[];
  /** The last measurement of each name, in the order of the names. */
  lastMetrics(id: string): Map<string, MetricPoint>;
  /** Takes away the measurements and checkpoint rows after a step, from which a run goes on. */
  truncate(id: string, afterStep: number): void;
  addCheckpoint(id: string, checkpoint: CheckpointRow): void;
  /** Checkpoints, ascending by step. */
  checkpoints(id: string): CheckpointRow[];
  /**
   * Removes a run: its rows, then its folder.
   * @throws HeadscopeError `usage` for an unknown run, `input` for one that is being trained or whose folder stays
   */
  removeRun(id: string): void;
}

const COLUMNS = `id, task, status, step, steps, seed, "group", spec, error, job, created, updated`;
const FILTERS = ["task", "status", "group", "seed", "job"] as const;
const CHANGES = ["status", "step", "steps", "error", "job", "spec"] as const;

/**
 * @param folder data folder, where runs/ is
 * @param refuse throws for a run that somebody is working on
 */
export function runStore(database: Database, folder: string, refuse: (id: string) => void): RunStore {
  function key(id: string): number {
    const row = database.get("SELECT key FROM runs WHERE id = ?", id);
    if (row === undefined) throw unknown(id);
    return Number(row["key"]);
  }

  function unknown(id: string): HeadscopeError {
    const ids = database.all("SELECT id FROM runs").map((row) => String(row["id"]));
    return unknownName("run", id, ids);
  }

  function nextId(task: string): string {
    const taken = new Set(runIds(folder));
    for (;;) {
      const row = database.get(
        `INSERT INTO run_numbers (task, last) VALUES (?, 1)
         ON CONFLICT (task) DO UPDATE SET last = last + 1 RETURNING last`,
        task,
      );
      const id = `${task}-${row!["last"]}`;
      // A folder can outlive its rows, when the database was lost: its checkpoints are another run's.
      if (!taken.has(id)) return id;
    }
  }

  return {
    createRuns: (spec, seeds) =>
      database.transaction(() => {
        const now = new Date().toISOString();
        const text = JSON.stringify(spec);
        let group: string | undefined;
        return seeds.map((seed) => {
          const id = nextId(spec.task);
          group ??= id;
          const row = database.get(
            `INSERT INTO runs (id, task, status, steps, seed, "group", spec, created, updated)
             VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?) RETURNING ${COLUMNS}`,
            ...[id, spec.task, spec.training.steps, seed, group, text, now, now],
          );
          return record(row!);
        });
      }),

    run(id) {
      const row = database.get(`SELECT ${COLUMNS} FROM runs WHERE id = ?`, id);
      if (row === undefined) throw unknown(id);
      return record(row);
    },

    runs(filter = {}) {
      const names = FILTERS.filter((name) => filter[name] !== undefined);
      const where = names.length === 0 ? "" : `WHERE ${names.map((name) => `"${name}" = ?`).join(" AND ")}`;
      const values = names.map((name) => filter[name]!);
      return database.all(`SELECT ${COLUMNS} FROM runs ${where} ORDER BY key`, ...values).map(record);
    },

    updateRun: (id, changes) =>
      database.transaction(() => {
        const names = CHANGES.filter((name) => changes[name] !== undefined);
        const set = [...names, "updated"].map((name) => `"${name}" = ?`).join(", ");
        const values = names.map((name) => (name === "spec" ? JSON.stringify(changes.spec) : changes[name]!));
        database.all(`UPDATE runs SET ${set} WHERE key = ?`, ...values, new Date().toISOString(), key(id));
      }),

    addMetrics: (id, step, values) =>
      database.transaction(() => {
        const run = key(id);
        for (const [name, value] of Object.entries(values)) {
          database.all("INSERT INTO metric_names (name) VALUES (?) ON CONFLICT DO NOTHING", name);
          database.all(
            `INSERT INTO metrics (run, name, step, value)
             VALUES (?, (SELECT id FROM metric_names WHERE name = ?), ?, ?)
             ON CONFLICT DO UPDATE SET value = excluded.value`,
            ...[run, name, step, Number.isNaN(value) ? null : value],
          );
        }
        database.all(
          "UPDATE runs SET step = max(step, ?), updated = ? WHERE key = ?",
          step,
          new Date().toISOString(),
          run,
        );
      }),

    metricsAfter: (id, step) =>
      database
        .all(
          `SELECT metric_names.name AS name, step, value FROM metrics JOIN metric_names ON metric_names.id = metrics.name
           WHERE run = ? AND step > ? ORDER BY step, metric_names.name`,
          ...[key(id), step],
        )
        .map((row) => ({ name: String(row["name"]), ...point(row) })),

    lastMetrics(id) {
      // SQLite takes the other columns of a max() from the row that has it.
      const rows = database.all(
        `SELECT metric_names.name AS name, max(step) AS step, value
         FROM metrics JOIN metric_names ON metric_names.id = metrics.name
         WHERE run = ? GROUP BY metrics.name ORDER BY metric_names.name`,
        key(id),
      );
      return new Map(rows.map((row) => [String(row["name"]), point(row)]));
    },

    metrics(id) {
      const rows = database.all(
        `SELECT metric_names.name AS name, step, value FROM metrics JOIN metric_names ON metric_names.id = metrics.name
         WHERE run = ? ORDER BY metric_names.name, step`,
        key(id),
      );
      const curves = new Map<string, MetricPoint[]>();
      for (const row of rows) {
        const name = String(row["name"]);
        const curve = curves.get(name) ?? [];
        curve.push(point(row));
        curves.set(name, curve);
      }
      return curves;
    },

    truncate: (id, afterStep) =>
      database.transaction(() => {
        const run = key(id);
        database.all("DELETE FROM metrics WHERE run = ? AND step > ?", run, afterStep);
        database.all("DELETE FROM checkpoints WHERE run = ? AND step > ?", run, afterStep);
        // -1 takes everything away; no run stands before step 0.
        database.all("UPDATE runs SET step = min(step, ?) WHERE key = ?", Math.max(0, afterStep), run);
      }),

    addCheckpoint: (id, { step, file, bytes, digest }) =>
      database.transaction(() => {
        const run = key(id);
        database.all(
          "INSERT OR REPLACE INTO checkpoints (run, step, file, bytes, digest) VALUES (?, ?, ?, ?, ?)",
          // Relative, so that the data folder can be moved.
          ...[run, step, relative(folder, resolve(file)), bytes, digest],
        );
        database.all(
          "UPDATE runs SET step = max(step, ?), updated = ? WHERE key = ?",
          step,
          new Date().toISOString(),
          run,
        );
      }),

    checkpoints: (id) =>
      database
        .all("SELECT step, file, bytes, digest FROM checkpoints WHERE run = ? ORDER BY step", key(id))
        .map(({ step, file, bytes, digest }) => ({
          step: Number(step),
          file: resolve(folder, String(file)),
          bytes: Number(bytes),
          digest: String(digest),
        })),

    removeRun(id) {
      database.transaction(() => {
        const run = key(id);
        refuse(id);
        database.all("DELETE FROM runs WHERE key = ?", run);
      });
      const path = runFolder(id, folder);
      try {
        if (existsSync(path)) rmSync(path, { recursive: true });
      } catch (error) {
        throw fileError(error, `the folder ${path} of the removed run ${id} is still there`);
      }
    },
  };
}

function point({ step, value }: Row): MetricPoint {
  return { step: Number(step), value: value === null ? Number.NaN : Number(value) };
}

function record(row: Row): RunRecord {
  const { id, task, status, step, steps, seed, group, spec, error, job, created, updated } = row;
  return {
    id: String(id),
    task: String(task),
    status: status as Status,
    step: Number(step),
    steps: Number(steps),
    seed: Number(seed),
    group: String(group),
    spec: JSON.parse(String(spec)) as TrainSpec,
    ...(error === null ? {} : { error: String(error) }),
    ...(job === null ? {} : { job: Number(job) }),
    created: String(created),
    updated: String(updated),
  };
}
