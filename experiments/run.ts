import { constants } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import { join, relative } from "node:path";
import type { Registry } from "../backend/definitions/definition.ts";
import { HeadscopeError } from "../backend/errors.ts";
import { fileInside } from "../backend/files.ts";
import { runsFor } from "../backend/jobs/reuse.ts";
import { trainRuns } from "../backend/jobs/train-runs.ts";
import { loadModel } from "../backend/models/load.ts";
import { checkpointSteps, dataDir } from "../backend/paths.ts";
import { createReport, REPORT_JSON, type Report, readReport, writeReport } from "../backend/reports/report.ts";
import type { RunRecord, Store } from "../backend/store/store.ts";
import { makeSpec, type TrainSpec } from "../backend/training/spec.ts";
import { tasks } from "../synthetic-tasks/index.ts";
import {
  type Experiment,
  type ExperimentContext,
  PRESETS,
  type Preset,
  type TrainedRun,
  type TrainingPlan,
} from "./base.ts";
import type { Curve } from "./curves.ts";

/** How an experiment is run. */
export interface ExperimentOptions {
  readonly store: Store;
  readonly preset: Preset;
  /** Parameters of the experiment, complete. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Where the report goes, default `reportFolder`. */
  readonly out?: string;
  /** The command line that the report names. */
  readonly command: string;
  readonly progress?: (done: number, total: number, label: string) => void;
  /** Stops it; finished runs are kept, others go on from their last checkpoint at the next call. */
  readonly signal?: AbortSignal;
}

/** A written report. */
export interface FinishedExperiment {
  readonly report: Report;
  readonly folder: string;
  readonly files: readonly string[];
}

/**
 * The parameters of an experiment: what is given, else the preset's, else the defaults.
 * @throws HeadscopeError `usage` for an unknown experiment, parameter or value
 */
export function experimentParameters(
  registry: Registry<Experiment>,
  name: string,
  preset: Preset,
  given: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  return registry.parse(name, { ...registry.get(name).presets[preset], ...given });
}

/**
 * The report of an experiment's latest run.
 * @param preset default: whichever is newer
 * @throws HeadscopeError `missing` where it was not run, `input` for a link out of the data folder
 */
export async function latestReport(
  name: string,
  preset?: Preset,
  data = dataDir(),
): Promise<{ report: Report; folder: string }> {
  const found: { report: Report; folder: string }[] = [];
  for (const each of preset === undefined ? PRESETS : [preset]) {
    const folder = reportFolder(name, each, data);
    const there = await fileInside(data, relative(data, join(folder, REPORT_JSON)));
    if (there !== undefined) found.push({ report: await readReport(folder), folder });
  }
  const newest = found.sort((a, b) => b.report.created.localeCompare(a.report.created))[0];
  if (newest !== undefined) return newest;
  throw new HeadscopeError(
    "missing",
    `there is no report of experiment ${name}${preset ? ` (${preset})` : ""} in ${data}`,
    {
      remedy: `run it: headscope experiment run ${name}${preset === "full" ? " --preset full" : ""}`,
    },
  );
}

/** The command line that makes a report again. @param given parameters beside the preset's */
export function experimentCommand(name: string, preset: Preset, given: Readonly<Record<string, unknown>>): string {
  const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  const params = Object.entries(given).map(([key, value]) => {
    const list = Array.isArray(value) ? value.map(text).join(",") : text(value);
    return ` --param '${`${key}=${list}`.replaceAll("'", "'\\''")}'`;
  });
  return `npx headscope experiment run ${name} --preset ${preset}${params.join("")}`;
}

/** Where the report of a preset is kept. @param data data folder, default `dataDir()` */
export function reportFolder(experiment: string, preset: Preset, data = dataDir()): string {
  return join(data, "experiments", `${experiment}-${preset}`);
}

/**
 * Runs an experiment, trains what is missing, and writes its report.
 * @throws HeadscopeError for a setting that no task allows, a training that failed, or `cancelled` by the signal
 */
export async function runExperiment(experiment: Experiment, options: ExperimentOptions): Promise<FinishedExperiment> {
  const { store, preset, params, command, signal = new AbortController().signal, progress = () => {} } = options;
  const folder = options.out ?? reportFolder(experiment.name, preset, store.folder);
  await makeFolder(folder); // before minutes of training, not after
  const used = new Map<string, TrainedRun>();
  const context: ExperimentContext = {
    signal,
    progress,
    check: (plan, seeds) => void specOf(plan, seeds),
    async train(plan, seeds) {
      const runs = await trainPlan(store, plan, seeds, { signal, progress });
      for (const run of runs) used.set(run.id, run);
      return runs;
    },
    model: (run, step) => loadModel(`run:${run.id}@${step}`, { signal }),
  };
  const { claims, figures, summary } = await experiment.run(params, context);
  signal.throwIfAborted();
  const { name, title, description, source } = experiment;
  const report = createReport({
    experiment: { name, title, description, source },
    preset,
    parameters: params,
    command,
    summary,
    claims: experiment.claims.map((statement) => {
      const result = claims.find(({ id }) => id === statement.id);
      if (result === undefined) throw new Error(`experiment ${name} says nothing of its claim ${statement.id}`);
      return { ...statement, ...result };
    }),
    figures: [...figures],
    runs: [...used.keys()],
  });
  return { report, folder, files: await writeReport(folder, report) };
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HeadscopeError("input", `no report can be written to ${folder}: ${why}`, {
      remedy: "give another --out",
      cause,
    });
  }
}

function specOf({ task, params, probes = [] }: TrainingPlan, seeds: readonly number[]): TrainSpec {
  return makeSpec(tasks.get(task), params, { seeds: seeds.length, probes });
}

async function trainPlan(
  store: Store,
  plan: TrainingPlan,
  seeds: readonly number[],
  { signal, progress }: Pick<ExperimentContext, "signal" | "progress">,
): Promise<TrainedRun[]> {
  signal.throwIfAborted();
  const runs = runsFor(store, [specOf(plan, seeds)], seeds)[0]!;
  await trainRuns(store, runs, { signal, onProgress: ({ done, total }) => progress(done, total, plan.label) });
  signal.throwIfAborted();
  const trained = runs.map(({ id }) => store.run(id));
  const unfinished = trained.find(({ status }) => status !== "done");
  if (unfinished !== undefined)
    throw new HeadscopeError("cancelled", `run ${unfinished.id} is ${unfinished.status} at step ${unfinished.step}`, {
      remedy: "run the experiment again: it goes on from there",
    });
  return trained.map((run) => trainedRun(store, run));
}

function trainedRun(store: Store, { id, seed, spec }: RunRecord): TrainedRun {
  const curves = new Map<string, Curve>();
  for (const [name, points] of store.metrics(id))
    curves.set(name, { steps: points.map(({ step }) => step), values: points.map(({ value }) => value) });
  const taskParams = { ...spec.params } as Record<string, unknown>;
  return { id, seed, taskParams, curves, checkpoints: checkpointSteps(id, store.folder) };
}
