import { constants } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import { command, parameterPairs } from "../backend/common/command-line.ts";
import type { Registry } from "../backend/common/definitions/definition.ts";
import { HeadscopeError } from "../backend/common/errors.ts";
import type { Report } from "../backend/common/figures/report.ts";
import type { Preset } from "../backend/common/words.ts";
import { runsFor } from "../backend/jobs/reuse.ts";
import { makeSoup } from "../backend/jobs/soup.ts";
import { trainRuns } from "../backend/jobs/train-runs.ts";
import { loadModel } from "../backend/models/load.ts";
import { checkpointSteps } from "../backend/paths.ts";
import { createReport, writeReport } from "../backend/reports/report.ts";
import type { RunRecord, Store } from "../backend/store/store.ts";
import { makeSpec, type TrainSpec } from "../backend/training/spec.ts";
import { tasks } from "../synthetic-tasks/index.ts";
import type { ClaimResult, Experiment, ExperimentContext, TrainedRun, TrainingPlan } from "./base.ts";
import type { Curve } from "./curves.ts";
import { placeReport, reportsFolder } from "./history.ts";
import { Measurements } from "./measurements.ts";
import { WholeProgress } from "./progress.ts";
import { tally, weighed } from "./verdicts.ts";

/** Options of a run of an experiment. */
export interface ExperimentOptions {
  readonly store: Store;
  readonly preset: Preset;
  /** Parameters of the experiment, complete. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Folder of the report, default a new one among those of the data folder. */
  readonly out?: string | undefined;
  /** The command line that the report names. */
  readonly command: string;
  /** Told how far the whole experiment is. */
  readonly progress?: (done: number, total: number, label: string) => void;
  /** Stops it; finished runs and measurements are kept, trainings go on from their last checkpoint at the next call. */
  readonly signal?: AbortSignal;
}

/** A written report. */
export interface FinishedExperiment {
  readonly report: Report;
  readonly folder: string;
  /** Its id among the kept reports; absent where it went to `out`. */
  readonly id?: string;
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

/** The command line that makes a report again. @param given parameters beside the preset's */
export function experimentCommand(name: string, preset: Preset, given: Readonly<Record<string, unknown>>): string {
  return command(["experiment", "run", name], { preset, param: parameterPairs(given) });
}

/**
 * Runs an experiment, trains and measures what is missing, and writes its report.
 * @throws HeadscopeError for a setting that no task allows, a model that is not there, a training that failed, or `cancelled` by the signal
 */
export async function runExperiment(experiment: Experiment, options: ExperimentOptions): Promise<FinishedExperiment> {
  const { store, preset, params, command, out, signal = new AbortController().signal } = options;
  await makeFolder(out ?? reportsFolder(store.folder)); // before minutes of training, not after
  const { report: progress } = new WholeProgress(experiment.stages(params), options.progress ?? (() => {}));
  const used = new Map<string, TrainedRun>();
  const measurements = new Measurements(experiment.name, store.folder, { signal, progress });
  const context: ExperimentContext = {
    signal,
    progress,
    check: (plan, seeds) => void specOf(plan, seeds),
    async train(plan, seeds) {
      const runs = await trainPlan(store, plan, seeds, { signal, progress });
      for (const run of runs) used.set(run.id, run);
      return runs;
    },
    async soup(runs, request) {
      const soup = await makeSoup(store, { members: runs.map(({ id }) => id), ...request });
      const { id, seed, spec } = store.run(soup.run);
      used.set(id, { id, seed, taskParams: spec.params, curves: new Map(), checkpoints: [spec.training.steps] });
      return soup;
    },
    model: (run, step) => loadModel(`run:${run.id}@${step}`, { signal }),
    measure: (plans) => measurements.measure(plans),
  };
  const { claims, figures, summary } = await experiment.run(params, context).finally(() => measurements.dispose());
  signal.throwIfAborted();
  const { name, title, description, source, trials } = experiment;
  const results = decided(experiment, preset, params, claims);
  const parts = {
    experiment: { name, title, description, source, trials },
    preset,
    parameters: params,
    command,
    summary: [`${tally(results)}.`, summary].filter(Boolean).join(" "),
    claims: experiment.claims.map(({ seeds: _, extent: __, ...statement }, i) => ({ ...statement, ...results[i]! })),
    figures: [...figures],
    runs: [...used.keys()],
  };
  const placed =
    out === undefined
      ? await placeReport(experiment, parts, store.folder)
      : { report: createReport(parts), folder: out };
  return { ...placed, files: await writeReport(placed.folder, placed.report) };
}

/** The results in the order of the claims, each weighed by the seeds, and the steps or measurements, that it rests on. */
function decided(
  experiment: Experiment,
  preset: Preset,
  params: Readonly<Record<string, unknown>>,
  results: readonly ClaimResult[],
): ClaimResult[] {
  const defaults = experiment.parameters.parse(experiment.presets[preset]) as Record<string, unknown>;
  const count = (values: Readonly<Record<string, unknown>>, name: string) => (values[name] as unknown[]).length;
  return experiment.claims.map(({ id, seeds = "seeds", extent = experiment.extent ?? "steps" }) => {
    const result = results.find((each) => each.id === id);
    if (result === undefined) throw new Error(`experiment ${experiment.name} says nothing of its claim ${id}`);
    return weighed(result, {
      seeds: { given: count(params, seeds), wanted: count(defaults, seeds) },
      extent: { name: extent, given: Number(params[extent]), wanted: Number(defaults[extent]) },
    });
  });
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
  await trainRuns(store, runs, {
    signal,
    whenBusy: "wait",
    onProgress: ({ done, total }) => progress(done, total, plan.label),
  });
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
