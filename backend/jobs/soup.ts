import { isDeepStrictEqual } from "node:util";
import { tasks } from "../../synthetic-tasks/index.ts";
import { HeadscopeError, nearestNames } from "../common/errors.ts";
import { readRun } from "../common/run-reference.ts";
import { readRunCheckpoint, writeRunCheckpoint } from "../models/sources/run-checkpoint.ts";
import { checkpointFile, checkpointSteps } from "../paths.ts";
import { initBackend } from "../runtime/backend.ts";
import { tf } from "../runtime/tf.ts";
import type { RunRecord, Store } from "../store/store.ts";
import { type EvaluatedTask, evaluateTask, evaluationMetrics, mainMetric } from "../training/evaluations.ts";
import { checkSame, type Origin, readOrigin } from "../training/origins/origin.ts";
import { greedySoup, meanParameters, type SoupMethod } from "../training/origins/soup.ts";
import { stepPlan } from "../training/plan.ts";
import { modelConfigOf, type TrainSpec } from "../training/spec.ts";
import { Evaluator } from "../training/step.ts";
import type { SyntheticTask } from "../training/task.ts";
import { runsFor } from "./reuse.ts";

/** Shift of the streams from which the rows come that a greedy soup is chosen by: no run is evaluated on them. */
const SELECTION = 0x1000;

/** Request for a soup. */
export interface SoupRequest {
  /** run:ID@step, or run:ID for its last checkpoint, or an id alone; two or more. */
  readonly members: readonly string[];
  /** Default "uniform": all are averaged. */
  readonly method?: SoupMethod;
  /** Measure that a greedy soup is chosen by, default the first evaluation's accuracy or, where it has none, loss. */
  readonly metric?: string | undefined;
}

/** A soup that was made. */
export interface Soup {
  /** The run whose one checkpoint it is. */
  readonly run: string;
  readonly method: SoupMethod;
  readonly metric: string;
  readonly members: readonly {
    readonly ref: string;
    /** Its own value of `metric`, on the rows that a greedy soup is chosen by. */
    readonly value: number;
    /** True where its weights are in the mean. */
    readonly chosen: boolean;
    /** Its evaluations on the rows on which the mean is evaluated. */
    readonly metrics: Readonly<Record<string, number>>;
  }[];
  /** Evaluations of the mean, on the rows on which runs are evaluated. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** A run that is averaged. */
interface Member extends Origin {
  readonly run: RunRecord;
}

/**
 * Averages the weights of runs into a new run with one checkpoint, which every command can load as any other.
 * The first member decides task, parameters and seed of the evaluations.
 * @throws HeadscopeError `usage` for fewer than two checkpoints, or some whose mean makes no sense: other tasks, shapes or worlds
 */
export async function makeSoup(
  store: Store,
  { members: texts, method = "uniform", metric }: SoupRequest,
): Promise<Soup> {
  const members = texts.map((text) => memberOf(store, text));
  const [first] = members;
  checkMembers(members);
  const { spec, seed } = first!.run;
  const task = tasks.get(spec.task);
  const measure = metric ?? mainMetric(task, spec.params);
  checkMetric(task, spec, measure);
  await initBackend();
  const parameters = await Promise.all(members.map(async ({ path }) => (await readRunCheckpoint(path)).parameters));
  const { plan, dispose } = stepPlan(task, spec);
  try {
    const evaluated = { task, spec, seed, world: task.world(spec.params, seed), evaluator: new Evaluator(plan) };
    const selection = { stream: SELECTION, only: measure.replace(/\.\w+$/, "") };
    const score = (values: Float32Array) => measured(evaluated, values, selection)[measure]!;
    const sign = measure.endsWith(".loss") ? -1 : 1;
    const everyone = members.map((_, i) => i);
    const { chosen, scores } =
      method === "greedy"
        ? greedySoup(parameters, (values) => sign * score(values))
        : { chosen: everyone, scores: parameters.map((values) => sign * score(values)) };
    const mean = meanParameters(chosen.map((i) => parameters[i]!));
    const metrics = measured(evaluated, mean);
    const refs = chosen.map((i) => members[i]!.ref);
    const run = await keep(store, soupSpec(members, refs), { seed, parameters: mean, metrics });
    return {
      ...{ run, method, metric: measure, metrics },
      members: members.map(({ ref }, i) => ({
        ...{ ref, value: sign * scores[i]!, chosen: chosen.includes(i) },
        metrics: measured(evaluated, parameters[i]!),
      })),
    };
  } finally {
    dispose();
  }
}

function memberOf(store: Store, text: string): Member {
  const origin = readOrigin(text.startsWith("run:") ? text : `run:${text}`);
  return { ...origin, run: store.run(readRun(origin.ref)!.id) };
}

function checkMembers(members: readonly Member[]): void {
  const [first, ...others] = members;
  if (first === undefined || others.length === 0)
    throw new HeadscopeError("usage", "a soup needs two runs or more", { remedy: "name another one" });
  const refs = members.map(({ ref }) => ref);
  const twice = refs.find((ref, i) => refs.indexOf(ref) < i);
  if (twice !== undefined)
    throw new HeadscopeError("usage", `${twice} is given twice`, { remedy: "name each checkpoint once" });
  const { spec, seed } = first.run;
  for (const other of others) {
    if (other.run.task !== first.run.task)
      throw new HeadscopeError(
        "usage",
        `${other.ref} was trained on ${other.run.task}, and ${first.ref} on ${first.run.task}`,
        { remedy: "average runs of one task" },
      );
    const task = tasks.get(spec.task);
    checkSame(modelConfigOf(spec.model, task.shape(spec.params)), other);
    if (!isDeepStrictEqual(task.world(spec.params, seed), task.world(spec.params, other.run.seed)))
      throw new HeadscopeError(
        "usage",
        `${other.ref} learned another world of ${spec.task} (seed ${other.run.seed}) than ${first.ref} (seed ${seed})`,
        { remedy: "average runs of one seed, such as those fine-tuned with other learning rates" },
      );
  }
}

function checkMetric(task: SyntheticTask, { params }: TrainSpec, metric: string): void {
  const names = evaluationMetrics(task, params);
  if (!names.includes(metric))
    throw new HeadscopeError("usage", `${task.name} has no measure "${metric.slice(0, 80)}"`, {
      remedy: `did you mean ${nearestNames(metric, names).join(", ")}?`,
      field: "metric",
    });
}

function measured(
  evaluated: EvaluatedTask,
  values: Float32Array,
  options?: Parameters<typeof evaluateTask>[2],
): Record<string, number> {
  const vector = tf.tensor1d(values);
  try {
    return evaluateTask(evaluated, vector, options);
  } finally {
    vector.dispose();
  }
}

/** The first member's specification, with as many steps as the longest had. */
function soupSpec(members: readonly Member[], soup: readonly string[]): TrainSpec {
  const { spec } = members[0]!.run;
  const steps = Math.max(...members.map(({ ref }) => readRun(ref)!.step!));
  return { ...spec, training: { ...spec.training, steps: Math.max(1, steps) }, probes: [], soup };
}

/** Writes the mean as a run that is done, unless the store has it already. @returns its id */
async function keep(
  store: Store,
  spec: TrainSpec,
  { seed, parameters, metrics }: { seed: number; parameters: Float32Array; metrics: Readonly<Record<string, number>> },
): Promise<string> {
  const config = modelConfigOf(spec.model, tasks.get(spec.task).shape(spec.params));
  const { steps: step } = spec.training;
  const { id, status } = runsFor(store, [spec], [seed])[0]![0]!;
  if (status === "done" && checkpointSteps(id, store.folder).includes(step)) return id;
  const file = checkpointFile(id, step, store.folder);
  try {
    const written = await writeRunCheckpoint(file, { step, seed, config, spec, parameters, vectors: [] });
    store.transaction(() => {
      store.addMetrics(id, step, metrics);
      store.addCheckpoint(id, { step, file, ...written });
      store.updateRun(id, { status: "done", step });
    });
    return id;
  } catch (error) {
    store.removeRun(id);
    throw error;
  }
}
