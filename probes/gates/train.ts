import { HeadscopeError } from "../../backend/common/errors.ts";
import { checkModel, headModel } from "../../backend/common/heads/model.ts";
import type { HeadScores } from "../../backend/common/heads/scores.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole } from "../../backend/common/options.ts";
import { createScores } from "../../backend/heads/files.ts";
import type { GatesFile } from "../../backend/heads/gate-files.ts";
import type { Model } from "../../backend/models/model.ts";
import { loopTurn } from "../../backend/runtime/turn.ts";
import { GateTraining } from "../../backend/training/gates/training.ts";
import { gateMethods } from "./index.ts";

/** Inputs of a training of gates beside its parameters. */
export interface TrainGatesOptions {
  /** Of texts and first values; default 0. */
  seed?: number | undefined;
  /** A training under way to go on with, of the same model, parameters and seed. */
  from?: GatesFile | undefined;
  /** Is handed the training as it stands after every `CHECKPOINT` steps, and when it is given up. */
  checkpoint?: ((state: GatesFile) => Promise<void>) | undefined;
  progress?: ((done: number, total: number, label: string, note?: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}

const OPTIONS: Rules<TrainGatesOptions> = {
  seed: whole(0),
  from: ANYTHING,
  checkpoint: FUNCTION,
  progress: FUNCTION,
  signal: ANYTHING,
};

/** Steps between two checkpoints. */
export const CHECKPOINT = 10;

const VECTORS = ["numbers", "first moments", "second moments"] as const;

/**
 * Trains the numbers of a policy while the model stays as it is.
 * @param name of the method @param params by name, as values or text; defaults are filled in
 * @returns by `blocks.LAYER.PART` the trained numbers
 * @throws HeadscopeError (usage) for an unknown method or parameter, or some that do not fit the model, (mismatch) for a training of
 *   another model or of other parameters to go on with
 */
export async function trainGates(
  model: Model,
  name: string,
  params: Readonly<Record<string, unknown>> = {},
  options: TrainGatesOptions = {},
): Promise<GatesFile> {
  checkOptions("trainGates", options, OPTIONS);
  const { seed = 0, from, checkpoint, progress, signal } = options;
  const method = gateMethods.get(name);
  const training = new GateTraining(model, method, gateMethods.parse(name, params), seed);
  const before = from?.about.seconds ?? 0;
  const began = performance.now();
  const about = () => ({
    method: name,
    model: headModel(model),
    params: training.params,
    seed,
    step: training.step,
    steps: training.steps,
    seconds: before + (performance.now() - began) / 1000,
    curve: [...training.curve],
  });
  const save = async () => {
    const { vectors } = training.state();
    const tensors = vectors.map((values, i) => [VECTORS[i]!, { shape: [values.length], values }] as const);
    await checkpoint?.({ about: about(), tensors: new Map(tensors) });
  };
  try {
    if (from) resume(training, model, { from, name, seed });
    const turn = loopTurn(signal);
    while (training.step < training.steps) {
      const last = Object.entries(training.curve.at(-1) ?? {}).map(
        ([loss, value]) => `${loss} ${value.toPrecision(3)}`,
      );
      progress?.(training.step, training.steps, `${name} gates, steps`, last.join(", "));
      await training.advance(turn);
      if (training.step % CHECKPOINT === 0 && training.step < training.steps) await save();
    }
    progress?.(training.steps, training.steps, `${name} gates, steps`);
    const tensors = training.tensors().map(({ layer, name, shape, values }) => {
      return [`blocks.${layer}.${name}`, { shape, values }] as const;
    });
    return { about: about(), tensors: new Map(tensors) };
  } catch (error) {
    if (signal?.aborted) await save();
    throw error;
  } finally {
    training.dispose();
  }
}

/** @throws HeadscopeError (mismatch) for a training of another model, or of other parameters */
function resume(
  training: GateTraining,
  model: Model,
  { from: { about, tensors }, name, seed }: { from: GatesFile; name: string; seed: number },
): void {
  checkModel(about, headModel(model), "the training to go on with");
  const now = { method: name, seed, ...training.params };
  const then: Record<string, unknown> = { method: about.method, seed: about.seed, ...about.params };
  const other = Object.entries(now).find(([key, value]) => JSON.stringify(then[key]) !== JSON.stringify(value));
  if (other)
    throw new HeadscopeError(
      "mismatch",
      `the training to go on with has ${other[0]} ${JSON.stringify(then[other[0]])}, not ${JSON.stringify(other[1])}`,
      { remedy: "give the parameters that it began with, or begin anew", field: other[0] },
    );
  const [numbers, first, second] = VECTORS.map((vector) => tensors.get(vector)?.values);
  if (!numbers || !first || !second)
    throw new HeadscopeError("input", "the file to go on with holds gates that are trained already", {
      remedy: "begin anew",
    });
  training.restore({ step: about.step, vectors: [numbers, first, second], curve: about.curve });
}

/** Points of a curve that a score file keeps. */
const POINTS = 100;

/**
 * Trained gates of KV heads as a score document: metric `gate`, 1 for a retrieval head.
 * @param gates of duo-attention
 */
export function gateScores(model: Model, { about, tensors }: GatesFile): HeadScores {
  const { params, seed, curve, seconds, step } = about;
  const values = Array.from({ length: model.config.n_layers }, (_, layer) => [
    ...tensors.get(`blocks.${layer}.gate`)!.values,
  ]);
  const all = values.flat();
  const { sinks, recent, ...rest } = params;
  const every = Math.ceil(curve.length / POINTS);
  return createScores({
    model: headModel(model),
    probe: about.method,
    // Names of DuoAttention's config.json, which an export writes.
    params: {
      ...rest,
      sink_size: sinks,
      recent_size: recent,
      dataset_format: "multiple_passkey",
      supervision: "distill",
    },
    seed,
    metrics: { gate: { axis: "kvHeads", values, range: [0, 1] } },
    summary: { mean: all.reduce((sum, value) => sum + value, 0) / all.length, ...curve.at(-1) },
    findings: {
      cost: { seconds, forwards: step * gateMethods.get(about.method).runs },
      curve: curve
        .map((losses, i) => ({ step: i + 1, ...losses }))
        .filter((_, i) => (curve.length - 1 - i) % every === 0),
    },
  });
}
