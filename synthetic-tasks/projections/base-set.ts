import { Random } from "../../backend/common/random.ts";

/** Stream of a seed from which the base set and the seed of its tasks are drawn. */
const WORLD = 0xffffffff;

/** Size of a base set. */
export interface BaseSize {
  /** Classes, each with a prototype. */
  readonly classes: number;
  /** Items of a class that training sees; as many more are held out. */
  readonly items: number;
  /** Numbers of an item. */
  readonly dimension: number;
  /** Spread of a class's items, in lengths of its prototype. */
  readonly epsilon: number;
}

/** Labelled items that all tasks of a run are made from, and the seed of those tasks. */
export interface BaseSet {
  /** Items [2 classes · items, dimension], the held-out half last; item i has class i mod classes. */
  readonly items: Float32Array;
  /** Seed whose streams are the tasks. */
  readonly taskSeed: number;
}

/** A task: items go through a matrix, classes through a permutation. */
export interface ProjectionTask {
  /** [dimension, dimension], entries of variance 1 / dimension. */
  readonly matrix: Float32Array;
  /** Label of each class. */
  readonly labels: readonly number[];
}

/**
 * Draws the base set of a seed: prototypes μ and noise η of standard normal numbers, items (μ + ε η) / sqrt(1 + ε²), so
 * that every number of an item has variance 1.
 */
export function baseSet({ classes, items, dimension, epsilon }: BaseSize, seed: number): BaseSet {
  const random = new Random(seed, WORLD);
  const prototypes = new Float32Array(classes * dimension);
  random.fillNormal(prototypes);
  const values = new Float32Array(2 * classes * items * dimension);
  random.fillNormal(values);
  const scale = 1 / Math.sqrt(1 + epsilon ** 2);
  for (let i = 0; i < values.length; i++)
    values[i] = scale * (prototypes[i % (classes * dimension)]! + epsilon * values[i]!);
  return { items: values, taskSeed: random.uint32() * 2 ** 21 + (random.uint32() >>> 11) };
}

/**
 * A task by its number: always the same one for a base set, so that any number of tasks needs no memory.
 * @param number from 0 on
 */
export function projectionTask(
  { taskSeed }: BaseSet,
  { classes, dimension }: Pick<BaseSize, "classes" | "dimension">,
  number: number,
): ProjectionTask {
  const random = new Random(taskSeed, number);
  const matrix = new Float32Array(dimension * dimension);
  const scale = 1 / Math.sqrt(dimension);
  for (let i = 0; i < matrix.length; i++) matrix[i] = scale * random.normal();
  return { matrix, labels: random.permutation(classes) };
}
