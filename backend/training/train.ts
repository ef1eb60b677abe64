import { HeadscopeError } from "../common/errors.ts";
import { Random } from "../common/random.ts";
import type { Model } from "../models/model.ts";
import { type GradientPath, modelOfParameters, type RunCheckpoint } from "../models/sources/run-checkpoint.ts";
import { initialParameters, parameterLayout, withTensorsOf } from "../models/weights/trainable.ts";
import { tf } from "../runtime/tf.ts";
import { pause } from "../runtime/turn.ts";
import { WeightChanges } from "./changes/changes.ts";
import { restartCodes, restartsBefore } from "./changes/codes.ts";
import { evaluateTask } from "./evaluations.ts";
import { optimiserVectors, stepScalars } from "./optimiser.ts";
import type { TrainingParams } from "./parameters.ts";
import { stepPlan } from "./plan.ts";
import type { TrainSpec } from "./spec.ts";
import { codeBatch, Evaluator, type SeedState, type StepPlan, Stepper } from "./step.ts";
import type { Batch, SyntheticTask } from "./task.ts";
import { type SeedMeasurement, TransitionWatch } from "./transition.ts";

/** Between two reports of progress, in milliseconds. */
const REPORT_EVERY = 100;

/** Values by metric: `loss`, `EVALUATION.loss`, `EVALUATION.accuracy`, and what `measure` gives. */
export type Metrics = Readonly<Record<string, number>>;

/** A seed's training at a step. */
export interface TrainState {
  readonly step: number;
  /** Parameters, then the optimiser's vectors. */
  readonly state: SeedState;
  /** The path that computed its gradients until here; of a run of earlier versions, which do not say so, functions. */
  readonly gradients?: GradientPath | undefined;
  /** Measurements until here, of a run that goes on: they decide which further checkpoints are saved. */
  readonly history?: readonly SeedMeasurement[];
  /** In a run that is pruned, 1 for weights that are there and 0 for others [parameters]. */
  readonly mask?: Float32Array | undefined;
}

/** The state in which training begins; without either, fresh weights. */
export interface TrainStart {
  /** By seed, where to go on. */
  readonly resume?: readonly TrainState[] | undefined;
  /** A checkpoint of another run, whose weights every seed begins with; what it has not is fresh. */
  readonly origin?: Pick<RunCheckpoint, "config" | "parameters"> | undefined;
}

/** Calls by which a training run tells and asks. */
export interface TrainCallbacks {
  /** Metrics of a seed at a step of the schedule. */
  onMetrics(step: number, seed: number, values: Metrics): void | Promise<void>;
  /** A state from which the run can go on. */
  onCheckpoint(seed: number, state: TrainState): Promise<void>;
  /** Tells how far it is, a few times a second. @param values the mean loss of the seeds */
  onProgress?(step: number, steps: number, values: Metrics): void;
  /** More metrics of a model, such as probes' scores. The model is disposed afterwards. */
  measure?(model: Model, step: number, seed: number): Promise<Metrics>;
  /** Aborting saves a checkpoint at the present step and ends the run. */
  signal?: AbortSignal;
}

/**
 * Trains a task's model from several seeds in one batched step each. Batches follow from seed and step alone, so a run that
 * goes on from a checkpoint gives the uninterrupted run's numbers bit for bit.
 * @returns the step at which it ended
 * @throws HeadscopeError (input) where the loss is no number any more, naming the step and the seed
 */
export async function train(
  task: SyntheticTask,
  spec: TrainSpec,
  seeds: readonly number[],
  callbacks: TrainCallbacks,
  { resume, origin }: TrainStart = {},
): Promise<{ step: number; status: "done" | "cancelled" }> {
  const { training } = spec;
  const { plan, dispose } = stepPlan(task, spec);
  const { config, places } = plan;
  const worlds = seeds.map((seed) => task.world(spec.params, seed));
  const states = resume?.map((r) => r.state) ?? seeds.map((seed) => freshState(plan, seed, origin));
  const [first] = resume ?? [];
  const changes = new WeightChanges(
    { config, places, training },
    seeds,
    resume?.map(({ mask }) => mask),
  );
  const stepper = new Stepper(plan, states, first && (first.gradients ?? "functions"), changes.trained);
  const evaluator = new Evaluator(plan, stepper.path);
  const measured = new Set(spacedSteps(training.steps, training.points, training.spacing));
  const saved = new Set(spacedSteps(training.steps, training.checkpoints, training.spacing));
  let step = resume?.[0]?.step ?? 0;
  const watch = new TransitionWatch(training.extra_checkpoints ?? 0); // runs of earlier versions have none
  if (resume)
    watch.replay(
      resume.map(({ history = [] }) => history),
      saved,
      step,
    );
  let lastSaved = resume ? step : -1;
  let last = 0;

  // Never of parameters that are no numbers, which only the next loss would show.
  const save = async (): Promise<void> => {
    if (lastSaved === step) return;
    const all = stepper.states();
    const bad = all.findIndex((state) => state.some((values) => values.some((x) => !Number.isFinite(x))));
    if (bad >= 0) throw diverged(step, seeds[bad]!, lastSaved);
    for (const [s, seed] of seeds.entries())
      await callbacks.onCheckpoint(seed, checkpointState(step, all[s]!, stepper.path, changes.mask(s)));
    lastSaved = step;
  };
  const measure = async (losses: ArrayLike<number> | undefined): Promise<void> => {
    const bySeed: Metrics[] = [];
    for (const [s, seed] of seeds.entries()) {
      const values: Record<string, number> = losses ? { loss: losses[s]! } : {};
      const parameters = stepper.parameters(s);
      Object.assign(values, evaluateTask({ task, spec, world: worlds[s], seed, evaluator }, parameters));
      const sparsity = changes.sparsity(s);
      if (sparsity !== undefined) values["sparsity"] = sparsity;
      // Before anything looks into the model, which would only find that its activations are no numbers.
      if (!Object.values(values).every(Number.isFinite)) {
        parameters.dispose();
        throw diverged(step, seeds[s]!, lastSaved);
      }
      if (callbacks.measure) {
        const model = modelOfParameters(`seed ${seed}, step ${step}`, config, parameters.dataSync() as Float32Array);
        try {
          Object.assign(values, await callbacks.measure(model, step, seed));
        } finally {
          model.dispose();
        }
      }
      parameters.dispose();
      await callbacks.onMetrics(step, seed, values);
      bySeed.push(values);
    }
    watch.measured(bySeed);
  };
  const saveWhereDue = async (): Promise<void> => {
    const scheduled = saved.has(step);
    if (!scheduled && !(measured.has(step) && watch.asks)) return;
    await save();
    watch.saved(scheduled);
  };
  try {
    if (!resume) {
      await measure(undefined);
      await saveWhereDue();
    }
    while (step < training.steps) {
      if (callbacks.signal?.aborted) {
        await save();
        return { step, status: "cancelled" };
      }
      step++;
      if (changes.resetsBefore(step)) stepper.change((state, s) => changes.reset(state, s, step));
      const params = task.curriculum?.(spec.params, step) ?? spec.params;
      const batches = seeds.map(
        (seed, s): Batch => task.sample(worlds[s], params, new Random(seed, step), training.batch),
      );
      if (restartsBefore({ config, places, training }, step))
        stepper.change((state, s) => restartedCodes(plan, state, batches[s]!, { seed: seeds[s]!, step }));
      const { losses } = stepper.step(stepScalars(training, step), batches);
      checkFinite(losses, step, seeds, lastSaved);
      if (changes.prunesAfter(step)) {
        stepper.change((state, s) => changes.prune(state, s, step));
        stepper.changeTrained(changes.trained!);
      }
      const now = performance.now();
      if (now - last > REPORT_EVERY || step === training.steps) {
        last = now;
        callbacks.onProgress?.(step, training.steps, { loss: losses.reduce((a, b) => a + b, 0) / losses.length });
      }
      if (measured.has(step)) await measure(losses);
      await saveWhereDue();
      await pause();
    }
    return { step, status: "done" };
  } finally {
    stepper.dispose();
    dispose();
  }
}

/** Whole steps from 0 to `steps`, evenly spaced by their logarithm or by themselves as far as whole numbers allow; both ends are among them. */
export function spacedSteps(steps: number, count: number, spacing: TrainingParams["spacing"]): number[] {
  const schedule = new Set([0, steps]);
  for (let i = 0; i < count; i++) {
    const share = i / Math.max(1, count - 1);
    schedule.add(Math.round(spacing === "log" ? steps ** share : steps * share));
  }
  return [...schedule].sort((a, b) => a - b);
}

/** A seed's state as the restart of its unused codes before a step leaves it. */
function restartedCodes(plan: StepPlan, state: SeedState, batch: Batch, at: { seed: number; step: number }): SeedState {
  const parameters = tf.tensor1d(state[0]!);
  const coded = codeBatch(plan, parameters, batch);
  parameters.dispose();
  return restartCodes(state, plan, { ...coded, weights: batch.weights }, at);
}

function freshState({ places, training }: StepPlan, seed: number, origin: TrainStart["origin"]): SeedState {
  const fresh = initialParameters(places, seed);
  const parameters = origin
    ? withTensorsOf(places, fresh, { places: parameterLayout(origin.config), values: origin.parameters })
    : fresh;
  return [parameters, ...Array.from({ length: optimiserVectors(training) }, () => new Float32Array(parameters.length))];
}

/** The mask is there only where weights are pruned. */
function checkpointState(
  step: number,
  state: SeedState,
  gradients: GradientPath,
  mask: Float32Array | undefined,
): TrainState {
  return { step, state, gradients, ...(mask && { mask }) };
}

function checkFinite(losses: Float32Array, step: number, seeds: readonly number[], lastSaved: number): void {
  const bad = losses.findIndex((loss) => !Number.isFinite(loss));
  if (bad >= 0) throw diverged(step, seeds[bad]!, lastSaved);
}

function diverged(step: number, seed: number, lastSaved: number): HeadscopeError {
  return new HeadscopeError("input", `training diverged: the loss of seed ${seed} is no number at step ${step}`, {
    remedy: `lower learning_rate or set clip; the checkpoint of step ${lastSaved} is kept`,
  });
}
