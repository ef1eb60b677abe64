import { tasks } from "../../../synthetic-tasks/index.ts";
import { probeTargets, taskProbe } from "../../../synthetic-tasks/task-probe.ts";
import { labelledPrompt } from "../../circuits/vectors/cases.ts";
import { linearProbe } from "../../circuits/vectors/linear-probe.ts";
import { LINEAR_PROBE_FORMAT, type PromptProbes, type RunProbes } from "../../common/api/linear-probes.ts";
import { HeadscopeError, unknownName } from "../../common/errors.ts";
import type { Classifier, ProbedPoint } from "../../common/words.ts";
import { parseReference } from "../../models/sources/reference.ts";
import type { Context } from "../context.ts";
import { readCases } from "../inputs/case-files.ts";
import { savedSteps } from "../inputs/saved-steps.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions } from "../options.ts";
import { withStore } from "../store.ts";
import { promptProbesText, runProbesText } from "../text/linear-probe.ts";

/** Options of `headscope linear-probe`. */
export interface LinearProbeCommandOptions extends StudiedModelOptions {
  examplesFile?: string;
  target?: string;
  rows?: number;
  allSteps?: boolean;
  steps?: number[];
  layers?: number[];
  at: ProbedPoint;
  position?: number | "mean" | "scored";
  method: Classifier;
  l2: number;
  test: number;
  controls: number;
  seed: number;
}

/** Reads labels, or a target of a run's task, from the stream, layer by layer. */
export async function probeStreams(context: Context, options: LinearProbeCommandOptions): Promise<void> {
  const { examplesFile, target } = options;
  if (examplesFile !== undefined && target === undefined) return probePrompts(context, options, examplesFile);
  if (examplesFile === undefined && target !== undefined) return probeRun(context, options, target);
  throw new HeadscopeError(
    "usage",
    examplesFile === undefined
      ? "there is nothing to read the stream for"
      : "--examples-file and --target cannot go together",
    { remedy: "give --examples-file FILE of labelled prompts, or --target NAME of a run's task" },
  );
}

/** The settings of the probes, as the library takes them. */
function settingsOf({ signal, progress }: Context, options: LinearProbeCommandOptions) {
  const { layers, at, method, l2, test, controls, seed } = options;
  return { at, method, l2, test, controls, seed, ...(layers && { layers }), signal, progress };
}

async function probePrompts(context: Context, options: LinearProbeCommandOptions, examplesFile: string): Promise<void> {
  for (const name of ["rows", "allSteps", "steps"] as const)
    if (options[name] !== undefined)
      throw new HeadscopeError("usage", `--${FLAGS[name]} goes with --target`, { remedy: "leave it out" });
  const { position = -1, at, method, l2, seed } = options;
  if (position === "scored")
    throw new HeadscopeError("usage", "--position scored goes with --target", {
      remedy: "give last, mean or a number",
    });
  await withStudiedModel(context, options, async (model) => {
    const examples = await readCases(examplesFile, model, labelledPrompt);
    const found = await linearProbe(model, { ...settingsOf(context, options), examples, position });
    const { ref, digest } = model;
    const document: PromptProbes = {
      format: LINEAR_PROBE_FORMAT,
      model: { ref, digest },
      ...{ at, position, method, l2, seed },
      ...found,
    };
    await context.print(document, () => promptProbesText(document));
  });
}

const FLAGS = { rows: "rows", allSteps: "all-steps", steps: "steps" } as const;

async function probeRun(context: Context, options: LinearProbeCommandOptions, target: string): Promise<void> {
  const { at, method, l2, seed, position = "scored", rows } = options;
  const { run, steps } = stepsOf(options);
  const record = await withStore((store) => store.run(run));
  const trained = { task: tasks.get(record.spec.task), params: record.spec.params, seed: record.seed };
  const names = Object.keys(probeTargets(trained.task));
  if (!names.includes(target)) throw unknownName(`target of task ${trained.task.name}`, target, names);
  const asked = { ...settingsOf(context, options), target, position, ...(rows !== undefined && { rows }) };
  const found: { step: number; probe: Awaited<ReturnType<typeof taskProbe>> }[] = [];
  for (const [i, step] of steps.entries()) {
    if (steps.length > 1) context.progress(i, steps.length, "linear probes, saved steps");
    const progress = steps.length > 1 ? () => {} : context.progress;
    const probe = await withStudiedModel(context, { ...options, model: `run:${run}@${step}` }, (model) =>
      taskProbe(model, trained, { ...asked, progress }),
    );
    found.push({ step, probe });
  }
  const { metric, train, test, chance } = found[0]!.probe;
  const document: RunProbes = {
    format: LINEAR_PROBE_FORMAT,
    ...{ run, task: trained.task.name, target, at, position, method, l2, seed },
    ...{ metric, train, test, chance },
    steps: found.map(({ step, probe: { layers } }) => ({ step, layers })),
  };
  await context.print(document, () => runProbesText(document));
}

/** The run of --model and its steps: that of the reference, the last one, all of them, or those of --steps. */
function stepsOf({ model, allSteps, steps }: LinearProbeCommandOptions): {
  run: string;
  steps: readonly number[];
} {
  if (allSteps === true && steps !== undefined)
    throw new HeadscopeError("usage", "--all-steps and --steps cannot go together", { remedy: "give one of them" });
  if (allSteps === true || steps !== undefined) {
    const saved = savedSteps(model, allSteps === true ? "--all-steps" : "--steps");
    const missing = steps?.find((step) => !saved.steps.includes(step));
    if (missing !== undefined)
      throw unknownName(`saved step of run ${saved.run}`, String(missing), saved.steps.map(String));
    return steps === undefined ? saved : { run: saved.run, steps };
  }
  const reference = parseReference(model, "existing");
  if (reference.kind === "run" && reference.step !== undefined) return { run: reference.id, steps: [reference.step] };
  const { run, steps: all } = savedSteps(model, "--target");
  return { run, steps: [all.at(-1)!] };
}
