import type { Tensor, Tensor1D, Tensor2D } from "@tensorflow/tfjs";
import { evaluation, gradient, type TrainedModel } from "../kernels/gradient.ts";
import { hasKernels } from "../kernels/kernels.ts";
import type { ModelConfig } from "../models/config.ts";
import type { GradientPath } from "../models/sources/run-checkpoint.ts";
import { codeLosses } from "../models/transformer/bottleneck.ts";
import { trainingForward } from "../models/transformer/training-forward.ts";
import { type ParameterPlace, parameterCount, weightsOver } from "../models/weights/trainable.ts";
import { type Captured, capture, functions, type TensorFunction } from "../runtime/capture.ts";
import { tf } from "../runtime/tf.ts";
import { kernelModel } from "./gradients/narrow.ts";
import { clipNorm, optimiserVectors, type StepScalars, update } from "./optimiser.ts";
import type { TrainingParams } from "./parameters.ts";
import type { Batch, TaskShape } from "./task.ts";

/** Plan that every step of a run computes with. */
export interface StepPlan {
  config: ModelConfig;
  places: readonly ParameterPlace[];
  shape: TaskShape;
  training: TrainingParams;
  /** Cosines and sines of all positions, those of a soft prompt first [positions, rotary_dim], where the model rotates. */
  tables: readonly Tensor[];
}

/** A seed's part of the state: parameters, then the optimiser's vectors, [parameters] each. */
export type SeedState = readonly Float32Array[];

/** Width from which gradients are no longer compiled, nor the kernel's: oneDNN's products of that size beat those of XLA. */
const WIDE = 256;

/** Most parameters of a model whose gradients the kernel computes. */
const NARROW_PARAMETERS = 2 ** 20;

/** Weight of the loss that draws streams to their codes, where nothing is said. */
const COMMITMENT = 0.25;

/** Most shards of a batch, and fewest rows of one. */
const SHARDS = { most: 2, rows: 8 };

/** A batch as tensors: what goes in, targets, weights. The caller disposes them. */
function uploadBatch(batch: Batch, shape: TaskShape): [Tensor, Tensor, Tensor] {
  const cells = batch.rows * shape.positions;
  const scored = shape.scored === "last" ? batch.rows : cells;
  const { input, output } = shape;
  return [
    input.kind === "tokens" ? tf.tensor1d(batch.tokens!, "int32") : tf.tensor2d(batch.inputs!, [cells, input.width]),
    output.kind === "classes"
      ? tf.tensor1d(batch.classes!, "int32")
      : tf.tensor2d(batch.values!, [scored, output.width]),
    tf.tensor1d(batch.weights),
  ];
}

/**
 * Training of several seeds together. A step is a plain function that calls the gradients' kernel, or compiled gradients of shards of
 * a seed's batch, which run side by side on all threads, and then one compiled update of all seeds. Pieces and shards depend
 * on the batch alone, so that the same run gives the same bits whatever the number of threads.
 */
export class Stepper {
  readonly seeds: number;
  /** The path that computes the gradients here. */
  readonly path: GradientPath;
  #plan: StepPlan;
  #kernel: TrainedModel | undefined;
  #state: Tensor[];
  /** 1 for weights that updates change [seeds, parameters], where they do not change all. */
  #trained: Tensor[] = [];
  #key: string;

  /**
   * @param states one a seed
   * @param path that is wished for: without kernels, and for models that they do not know, there are only functions
   * @param trained by seed, 1 for weights that updates change and 0 for others [parameters]; default all. `changeTrained` changes
   *   them later where they are given
   */
  constructor(
    plan: StepPlan,
    states: readonly SeedState[],
    path: GradientPath = "kernel",
    trained?: readonly Float32Array[],
  ) {
    this.#plan = plan;
    this.seeds = states.length;
    this.#kernel = path === "kernel" ? kernelFor(plan) : undefined;
    this.path = this.#kernel ? "kernel" : "functions";
    this.#key = `training step|${this.path}|${planKey(plan)}|${JSON.stringify(updateOptions(plan.training))}|${plan.training.batch}|${this.seeds}|${trained !== undefined}`;
    this.#state = this.#upload(states);
    if (trained) this.#trained = [uploadSeeds(trained)];
  }

  #upload(states: readonly SeedState[]): Tensor[] {
    const vectors = 1 + optimiserVectors(this.#plan.training);
    return Array.from({ length: vectors }, (_, v) => uploadSeeds(states.map((state) => state[v]!)));
  }

  /**
   * Makes one update.
   * @param batches one a seed, of equal sizes
   * @returns by seed, the loss before the update and the norm of its gradient
   */
  step(scalars: StepScalars, batches: readonly Batch[]): { losses: Float32Array; norms: Float32Array } {
    const uploaded = batches.flatMap((batch) => uploadBatch(batch, this.#plan.shape));
    const inputs = [tf.tensor1d([...scalars]), ...uploaded];
    const all = [...inputs, ...this.#state, ...this.#trained, ...this.#plan.tables];
    const fn = functions.obtain(this.#key, () => this.#capture(all));
    const [losses, norms, ...state] = fn.run(all) as [Tensor, Tensor, ...Tensor[]];
    tf.dispose([...inputs, ...this.#state]);
    this.#state = state;
    const read = { losses: losses.dataSync() as Float32Array, norms: norms.dataSync() as Float32Array };
    tf.dispose([losses, norms]);
    return read;
  }

  /** A seed's parameters [parameters], which the caller disposes. @param seed its place among the seeds */
  parameters(seed: number): Tensor {
    return tf.tidy(() => tf.reshape(tf.slice(this.#state[0]!, [seed, 0], [1, -1]), [-1]));
  }

  /** Gives the states that are needed to go on, by seed. */
  states(): SeedState[] {
    const read = this.#state.map((t) => t.dataSync() as Float32Array);
    return Array.from({ length: this.seeds }, (_, s) =>
      read.map((all) => all.slice((s * all.length) / this.seeds, ((s + 1) * all.length) / this.seeds)),
    );
  }

  /** Changes the states between two steps. @param change of a seed's state; s is its place among the seeds */
  change(change: (state: SeedState, s: number) => SeedState): void {
    const changed = this.states().map(change);
    tf.dispose(this.#state);
    this.#state = this.#upload(changed);
  }

  /** Says anew which weights updates change. @param trained as the constructor's */
  changeTrained(trained: readonly Float32Array[]): void {
    tf.dispose(this.#trained);
    this.#trained = [uploadSeeds(trained)];
  }

  dispose(): void {
    tf.dispose([...this.#state, ...this.#trained]);
  }

  #capture(example: Tensor[]): Captured {
    const plan = this.#plan;
    const kernel = this.#kernel;
    const [batched, vectors, masks] = [3 * this.seeds, this.#state.length, this.#trained.length];
    const inner = new Map<string, Captured>();
    const call: InnerCall = (name, xla, fn, inputs) => {
      const captured = inner.get(name) ?? capture(fn, inputs, { name, xla });
      inner.set(name, captured);
      return captured.run(inputs);
    };
    const body: TensorFunction = (...args) => {
      const [scalars, ...rest] = args as [Tensor, ...Tensor[]];
      const batches = Array.from({ length: this.seeds }, (_, s) => rest.slice(3 * s, 3 * s + 3) as BatchTensors);
      const state = rest.slice(batched, batched + vectors) as [Tensor, ...Tensor[]];
      const trained = rest.slice(batched + vectors, batched + vectors + masks);
      const tables = rest.slice(batched + vectors + masks);
      const sums = kernel
        ? kernelSums(kernel, state[0], batches, tables)
        : shardSums(plan, state[0], batches, (inputs) =>
            call("gradient", plan.config.d_model < WIDE, gradientBody(plan), [...inputs, ...tables]),
          );
      return call("update", true, updateBody(plan, masks > 0), [scalars, ...sums, ...trained, ...state]);
    };
    // The inner functions are captured before the outer one is recorded: a recording can't hold another.
    tf.dispose(tf.tidy(() => body(...example)));
    const whole = capture(body, example, { name: "training step" });
    const all = [whole, ...inner.values()];
    return {
      ...whole,
      bytes: all.reduce((sum, fn) => sum + fn.bytes, 0),
      dispose() {
        for (const fn of all) fn.dispose();
      },
    };
  }
}

/** Vectors of the seeds as one tensor [seeds, numbers], which the caller disposes. */
function uploadSeeds(vectors: readonly Float32Array[]): Tensor {
  const width = vectors[0]!.length;
  const all = new Float32Array(vectors.length * width);
  vectors.forEach((vector, s) => {
    all.set(vector, s * width);
  });
  return tf.keep(tf.tensor2d(all, [vectors.length, width]));
}

/** Inputs, targets and weights of a seed's batch. */
type BatchTensors = [Tensor, Tensor, Tensor];

/** Calls a function that is captured at its first call. */
type InnerCall = (name: string, xla: boolean, fn: TensorFunction, inputs: Tensor[]) => Tensor[];

/** A model as the kernel takes it; undefined where there is none, or where functions, which keep no gradient for each piece of a batch, are faster. */
function kernelFor(plan: StepPlan): TrainedModel | undefined {
  const narrow = plan.config.d_model < WIDE && parameterCount(plan.places) <= NARROW_PARAMETERS;
  return narrow && hasKernels() ? kernelModel(plan) : undefined;
}

/** Summed losses and weights [seeds] and gradients [seeds, parameters], by the kernel. */
function kernelSums(model: TrainedModel, parameters: Tensor, batches: BatchTensors[], tables: Tensor[]): Tensor[] {
  const [read, targets, weights] = ([0, 1, 2] as const).map((i) =>
    batches.length === 1 ? batches[0]![i] : tf.concat(batches.map((batch) => batch[i])),
  ) as BatchTensors;
  return gradient(model, { parameters, read, targets, weights, tables });
}

/** The same by shards. @param run gives them of a seed's parameters and a shard of its batch */
function shardSums(
  { training }: StepPlan,
  parameters: Tensor,
  batches: BatchTensors[],
  run: (inputs: Tensor[]) => Tensor[],
): Tensor[] {
  const shards = shardsOf(training.batch);
  const sums = batches.map((batch, s) => {
    const own = tf.reshape(tf.slice(parameters, [s, 0], [1, -1]), [-1]);
    const parts = Array.from({ length: shards }, (_, i) => run([own, ...batch.map((t) => shard(t, i, shards))]));
    return [0, 1, 2].map((i) => parts.map((part) => part[i]!).reduce((a, b) => tf.add(a, b)));
  });
  return stacked(sums);
}

/**
 * Losses of several batches at the same parameters, means by their weights, and the gradients of each.
 * @param parameters [parameters], which stay the caller's
 * @returns losses [batches] and gradients [batches, parameters], which the caller disposes
 */
export function batchGradients(plan: StepPlan, parameters: Tensor, batches: readonly Batch[]): [Tensor, Tensor] {
  return tf.tidy((): Tensor[] => {
    const uploaded = batches.map((batch) => uploadBatch(batch, plan.shape));
    const model = kernelFor(plan);
    const body = gradientBody(plan);
    const all = tf.tile(tf.expandDims(parameters), [batches.length, 1]);
    const [losses, weights, sums] = model
      ? kernelSums(model, all, uploaded, [...plan.tables])
      : stacked(uploaded.map((batch) => body(parameters, ...batch, ...plan.tables)));
    return [tf.div(losses!, weights!), tf.div(sums!, tf.expandDims(weights!, 1))];
  }) as [Tensor, Tensor];
}

/** Lists of tensors as one list of their stacks. */
function stacked(lists: readonly Tensor[][]): Tensor[] {
  return lists[0]!.map((_, i) => tf.stack(lists.map((list) => list[i]!)));
}

/** Key of everything that the outputs of a model depend on beside the sizes of its inputs. */
function planKey({ config, shape }: StepPlan): string {
  return JSON.stringify([config, shape]);
}

/** Values that are frozen into a captured update. */
function updateOptions(training: TrainingParams): unknown[] {
  const { optimiser, weight_decay, beta1, beta2, adam_epsilon, momentum, clip, commitment } = training;
  return [optimiser, weight_decay, beta1, beta2, adam_epsilon, momentum, clip, commitment];
}

function shardsOf(rows: number): number {
  for (let n = SHARDS.most; n > 1; n--) if (rows % n === 0 && rows / n >= SHARDS.rows) return n;
  return 1;
}

function shard(t: Tensor, i: number, shards: number): Tensor {
  const size = t.shape[0]! / shards;
  return tf.slice(t, [i * size, ...t.shape.slice(1).map(() => 0)], [size, ...t.shape.slice(1)]);
}

/**
 * Arguments: a seed's parameters [parameters]; read, targets, weights of rows of its batch; the rotation's tables.
 * @returns summed loss, summed weights, gradient of the summed loss [parameters]
 */
function gradientBody(plan: StepPlan): TensorFunction {
  const { places, shape } = plan;
  const { commitment = COMMITMENT } = plan.training;
  return (...args) => {
    const [own, read, targets, weights, ...tables] = args as [Tensor, Tensor, Tensor, Tensor, ...Tensor[]];
    const values = partsOf(own, places);
    const loss = (...shard: Tensor[]) => {
      const { logits, z, vectors } = outputs(plan, shard, read, tables);
      const own = lossesOf(shape, logits, targets);
      const each = z && vectors ? tf.add(own, codeLosses(z, vectors, commitment)) : own;
      return tf.sum(tf.mul(each, weights)) as never;
    };
    const { value, grads } = tf.valueAndGrads(loss)(values);
    return [value, tf.sum(weights), tf.concat(grads.map((g) => tf.reshape(g, [-1])))];
  };
}

/**
 * Arguments: scalars [3]; summed losses and weights [seeds] and gradients [seeds, parameters]; where only some weights are trained,
 * 1 for those and 0 for others [seeds, parameters]; parameters and the optimiser's vectors [seeds, parameters].
 * @param masked whether only some weights are trained: the others have no gradient, in its norm neither, and stay to the bit
 * @returns losses and gradient norms [seeds], the new parameters and vectors
 */
function updateBody({ training }: StepPlan, masked: boolean): TensorFunction {
  return (...args) => {
    const [scalars, losses, weights, sums, ...rest] = args as [Tensor, Tensor, Tensor, Tensor, ...Tensor[]];
    const [trained, [parameters, ...state]] = (masked ? [rest[0], rest.slice(1)] : [undefined, rest]) as [
      Tensor | undefined,
      [Tensor, ...Tensor[]],
    ];
    const means = tf.div(sums, tf.expandDims(weights, 1));
    const gradients = trained ? tf.mul(means, trained) : means;
    const norms = tf.sqrt(tf.sum(tf.square(gradients), 1));
    const clipped = training.clip > 0 ? clipNorm(gradients, norms, training.clip) : gradients;
    const [next, ...vectors] = update(training, { parameters, gradients: clipped, state, scalars });
    const kept = trained ? tf.where(tf.greater(trained, 0), next!, parameters) : next!;
    return [tf.div(losses, weights), norms, kept, ...vectors];
  };
}

/** The tensors of a layout's places, in order and in their shapes. @param own [parameters] */
function partsOf(own: Tensor, places: readonly ParameterPlace[]): Tensor[] {
  return places.map(({ offset, size, shape }) => tf.reshape(tf.slice(own as Tensor1D, offset, size), [...shape]));
}

/**
 * The forward of a plan's model.
 * @param values tensors of the layout's places, in order
 */
function outputs(
  plan: StepPlan,
  values: readonly Tensor[],
  read: Tensor,
  tables: readonly Tensor[],
): ReturnType<typeof trainingForward> {
  const { config, places, shape } = plan;
  const rows = read.shape[0]! / shape.positions;
  const at = new Map(places.map((place, i) => [place, values[i]!]));
  const weights = weightsOver(config, places, (place) => at.get(place)!);
  const [cos, sin] = tables.map((t) => tf.tile(tf.reshape(t, [-1, 1, config.rotary_dim]), [rows, 1, 1]));
  const rotation = cos && sin ? { cos, sin } : undefined;
  return trainingForward(config, weights, { read, rows, positions: shape.positions, rotation, scored: shape.scored });
}

/** Losses of outputs: cross-entropy, the mean squared error of a position, or the mean Gaussian loss. @returns [rows * scored] */
function lossesOf({ output }: TaskShape, out: Tensor, targets: Tensor): Tensor {
  if (output.kind === "classes") {
    const onTarget = tf.oneHot(targets as Tensor1D, output.count);
    return tf.neg(tf.sum(tf.mul(onTarget, tf.logSoftmax(out as Tensor2D)), -1));
  }
  return output.kind === "gaussian" ? gaussianLosses(out, targets) : tf.mean(tf.square(tf.sub(out, targets)), -1);
}

/**
 * Negative log-likelihoods of targets under normal laws, mean over the width, nats.
 * @param out means, then log-variances [rows * scored, 2 width] @param targets [rows * scored, width] @returns [rows * scored]
 */
function gaussianLosses(out: Tensor, targets: Tensor): Tensor {
  const [means, logs] = tf.split(out, 2, -1) as [Tensor, Tensor];
  const surprise = tf.mul(tf.square(tf.sub(targets, means)), tf.exp(tf.neg(logs)));
  return tf.mul(tf.mean(tf.add(tf.add(logs, surprise), Math.log(2 * Math.PI)), -1), 0.5);
}

/** The streams of a batch that a bottleneck codes, and what they became. */
export interface CodedBatch {
  /** [rows * scored, d_model] */
  readonly z: Float32Array;
  /** Rows of the codes [rows * scored * heads]. */
  readonly chosen: Int32Array;
}

/** Codes a batch by a model with a bottleneck. @param parameters [parameters], which stay the caller's */
export function codeBatch(plan: StepPlan, parameters: Tensor, batch: Batch): CodedBatch {
  const uploaded = uploadBatch(batch, plan.shape);
  const inputs = [parameters, uploaded[0], ...plan.tables];
  const body: TensorFunction = (...args) => {
    const [own, read, ...tables] = args as [Tensor, Tensor, ...Tensor[]];
    const { z, chosen } = outputs(plan, partsOf(own, plan.places), read, tables);
    return [z!, chosen!];
  };
  const fn = functions.get(
    `codes|${planKey(plan)}|${batch.rows}`,
    body,
    () => inputs,
    () => ({ name: "codes", xla: true }),
  );
  const coded = fn.run(inputs);
  const [z, chosen] = coded.map((t) => t.dataSync()) as [Float32Array, Int32Array];
  tf.dispose([...uploaded, ...coded]);
  return { z, chosen };
}

/** Loss and, for classes, accuracy of models on batches of one size. */
export class Evaluator {
  #plan: StepPlan;
  #kernel: TrainedModel | undefined;

  /** @param path as the stepper's, so that a run is measured by what trains it */
  constructor(plan: StepPlan, path: GradientPath = "kernel") {
    this.#plan = plan;
    this.#kernel = path === "kernel" ? kernelFor(plan) : undefined;
  }

  /** @param parameters [parameters], which stay the caller's @returns means by the batch's weights */
  evaluate(parameters: Tensor, batch: Batch): { loss: number; accuracy?: number } {
    const uploaded = uploadBatch(batch, this.#plan.shape);
    const measured = this.#kernel
      ? this.#byKernel(this.#kernel, parameters, uploaded)
      : this.#byFunction(parameters, uploaded);
    const [loss, accuracy] = measured.map((t) => t.dataSync()[0]!);
    tf.dispose([...uploaded, ...measured]);
    return { loss: loss!, ...(accuracy === undefined ? {} : { accuracy }) };
  }

  #byKernel(model: TrainedModel, own: Tensor, [read, targets, weights]: BatchTensors): Tensor[] {
    const { shape, tables } = this.#plan;
    return tf.tidy((): Tensor[] => {
      const parameters = tf.expandDims(own);
      const [loss, total, right] = evaluation(model, { parameters, read, targets, weights, tables });
      return (shape.output.kind === "classes" ? [loss, right] : [loss]).map((sum) => tf.div(sum!, total!));
    }) as Tensor[];
  }

  #byFunction(parameters: Tensor, batch: BatchTensors): Tensor[] {
    const inputs = [parameters, ...batch, ...this.#plan.tables];
    const fn = functions.get(
      `evaluation|${planKey(this.#plan)}|${batch[0].shape[0]}`,
      this.#body(),
      () => inputs,
      () => ({ name: "evaluation", xla: true }),
    );
    return fn.run(inputs);
  }

  #body(): TensorFunction {
    const { places, shape } = this.#plan;
    return (...args) => {
      const [own, read, targets, weights, ...tables] = args as [Tensor, Tensor, Tensor, Tensor, ...Tensor[]];
      const values = partsOf(own, places);
      const { logits: out } = outputs(this.#plan, values, read, tables);
      const mean = (each: Tensor): Tensor => tf.div(tf.sum(tf.mul(each, weights)), tf.sum(weights));
      const loss = mean(lossesOf(shape, out, targets));
      if (shape.output.kind !== "classes") return [loss];
      return [loss, mean(tf.cast(tf.equal(tf.argMax(out, -1), targets), "float32"))];
    };
  }
}
