import type { z } from "zod";
import type { Definition } from "../common/definitions/definition.ts";
import type { Random } from "../common/random.ts";

/** Shape of a task: a model's inputs, its outputs, and their places. */
export interface TaskShape {
  /** At each position a token id, or a vector. */
  readonly input:
    | { readonly kind: "tokens"; readonly vocabulary: number }
    | { readonly kind: "vectors"; readonly width: number };
  readonly output: TaskOutput;
  /** Length of a sequence. */
  readonly positions: number;
  /** Positions at which outputs are computed: every one, or the last one only. */
  readonly scored: "all" | "last";
}

/**
 * Outputs at a scored position: logits over classes (cross-entropy), values (mean squared error), or normal laws of values, all their
 * means and then the logarithms of all their variances (Gaussian negative log-likelihood, in nats).
 */
export type TaskOutput =
  | { readonly kind: "classes"; readonly count: number }
  | { readonly kind: "values"; readonly width: number }
  | { readonly kind: "gaussian"; readonly width: number };

/** Numbers that a model gives at a scored position. */
export function outputWidth(output: TaskOutput): number {
  if (output.kind === "classes") return output.count;
  return output.kind === "gaussian" ? 2 * output.width : output.width;
}

/** Numbers of a target at a scored position. */
export function targetWidth(output: TaskOutput): number {
  return output.kind === "classes" ? 1 : output.width;
}

/** Sequences and their targets; `scored` is the number of positions where outputs are computed. */
export interface Batch {
  readonly rows: number;
  /** Token ids [rows, positions]. */
  readonly tokens?: Int32Array;
  /** Vectors [rows, positions, width]. */
  readonly inputs?: Float32Array;
  /** Target classes [rows, scored]. */
  readonly classes?: Int32Array;
  /** Target values [rows, scored, width]. */
  readonly values?: Float32Array;
  /** Weight of each prediction [rows, scored]: the loss is sum(weight · loss) / sum(weight). */
  readonly weights: Float32Array;
  /** Parts that the rows were made of, in the task's own numbers: `describe` reads them; models never see them. */
  readonly layout?: Int32Array;
}

/** One row of a batch, as a batch of views into the same numbers. */
export function rowOf({ rows, tokens, inputs, classes, values, weights, layout }: Batch, row: number): Batch {
  const own = <T extends Int32Array | Float32Array>(all: T): T =>
    all.subarray((row * all.length) / rows, ((row + 1) * all.length) / rows) as T;
  return {
    rows: 1,
    ...(tokens && { tokens: own(tokens) }),
    ...(inputs && { inputs: own(inputs) }),
    ...(classes && { classes: own(classes) }),
    ...(values && { values: own(values) }),
    weights: own(weights),
    ...(layout && { layout: own(layout) }),
  };
}

/** Rows of a batch by their numbers, copied into a batch of their own; a number may stand there several times. */
export function pickRows(batch: Batch, numbers: readonly number[]): Batch {
  const { tokens, inputs, classes, values, weights, layout } = batch;
  const picked = <T extends Int32Array | Float32Array>(all: T): T => {
    const width = all.length / batch.rows;
    const own = all.slice(0, 0).constructor as new (length: number) => T;
    const out = new own(numbers.length * width);
    numbers.forEach((row, r) => {
      out.set(all.subarray(row * width, (row + 1) * width), r * width);
    });
    return out;
  };
  return {
    rows: numbers.length,
    ...(tokens && { tokens: picked(tokens) }),
    ...(inputs && { inputs: picked(inputs) }),
    ...(classes && { classes: picked(classes) }),
    ...(values && { values: picked(values) }),
    weights: picked(weights),
    ...(layout && { layout: picked(layout) }),
  };
}

/** Token ids of a batch of tokens [rows][positions], as the forward takes them. */
export function sequencesOf(batch: Batch): number[][] {
  return Array.from({ length: batch.rows }, (_, row) => [...rowOf(batch, row).tokens!]);
}

/** A held-out split: what an ability is measured on. @typeParam P parameters @typeParam W the task's world */
export interface Evaluation<P, W> {
  readonly title: string;
  /** Gives what guessing without the context reaches. */
  chance?(params: P): { accuracy?: number; loss?: number };
  sample(world: W, params: P, random: Random, rows: number): Batch;
}

/** A predictor to compare a model with: the best there is, or a stated rule. */
export interface Reference<P, W> {
  readonly title: string;
  /** @returns predictions [rows, scored, output width]: log-probabilities of classes, values, or means and log-variances */
  predict(world: W, params: P, batch: Batch): Float64Array;
}

/** A quantity at each position of a batch's rows: classes [rows, positions], -1 where there is none, or values [rows, positions, width]. */
export type TargetTable =
  | { readonly kind: "classes"; readonly classes: Int32Array }
  | { readonly kind: "values"; readonly width: number; readonly values: Float64Array };

/** A quantity of sequences that linear probes look for in activations. */
export interface ProbeTarget<P, W> {
  readonly title: string;
  at(world: W, params: P, batch: Batch): TargetTable;
}

/** A synthetic task. Batches are pure functions of their arguments, so that a seed and a step determine them. */
export interface SyntheticTask<S extends z.ZodObject = z.ZodObject, W = unknown> extends Definition<S> {
  shape(params: z.output<S>): TaskShape;
  /** @throws HeadscopeError (usage) for parameters that contradict each other, naming the constraint */
  check(params: z.output<S>): void;
  /** Draws what a run has once, such as the means of classes. */
  world(params: z.output<S>, seed: number): W;
  /** A training batch. */
  sample(world: W, params: z.output<S>, random: Random, rows: number): Batch;
  /** The parameters with which the batch of a step, from 1 on, is drawn, of a task whose batches change as training goes; of the same shape. */
  curriculum?(params: z.output<S>, step: number): z.output<S>;
  /** By name; each gives the metrics `name.loss` and, for classes, `name.accuracy`. */
  readonly evaluations: Readonly<Record<string, Evaluation<z.output<S>, W>>>;
  readonly reference?: Reference<z.output<S>, W>;
  /** Quantities that linear probes may look for, by name; every task has `label` beside them, what its loss asks for. */
  readonly probeTargets?: Readonly<Record<string, ProbeTarget<z.output<S>, W>>>;
  /** One row of a batch as text that a person can read. */
  describe(world: W, params: z.output<S>, batch: Batch, row: number): string;
  /** One row as data, where tokens or inputs and targets of every position would not say it plainly. */
  document?(world: W, params: z.output<S>, batch: Batch, row: number): Readonly<Record<string, unknown>>;
  /** Tokens of a prompt that its models learn to foretell, where a rule says so; default all. */
  readonly part?: "repeated";
  /** Model and training parameters that suit the task where the user says nothing. */
  readonly defaults?: {
    readonly model?: Readonly<Record<string, unknown>>;
    readonly training?: Readonly<Record<string, unknown>>;
    /** Probes that are measured along with the evaluations. */
    readonly probes?: readonly string[];
  };
}
