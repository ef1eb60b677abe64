import type { ProbedLayer } from "../../common/api/linear-probes.ts";
import { type Matrix, matrixOf } from "../../common/numerics/matrix.ts";
import { Random } from "../../common/random.ts";
import type { Classifier } from "../../common/words.ts";
import { interval, resamplesOf } from "../evaluation/resample.ts";
import { classify, type Examples, meansOf, outputsOf, ridge } from "./linear-fits.ts";

/** Examples to fit and examples to hold out, by their places. */
export interface Split {
  readonly train: readonly number[];
  readonly test: readonly number[];
}

/** Targets of examples: classes from 0, or values. */
export type ProbeTargets =
  | { readonly kind: "classes"; readonly labels: readonly number[] }
  | { readonly kind: "values"; readonly rows: readonly ArrayLike<number>[] };

/** A fit of one layer. */
export interface ProbeFit {
  readonly method: Classifier;
  readonly l2: number;
  readonly split: Split;
  /** Fits with shuffled targets. */
  readonly controls: number;
  readonly seed: number;
}

/** Streams of the seed: shuffles have those from 11 on. */
const SPLIT_STREAM = 10;
const SHUFFLE_STREAM = 11;
const BOOTSTRAP_STREAM = 9;
const RESAMPLES = 1_000;

/** A list in another order. */
export function shuffled<T>(list: readonly T[], random: Random): T[] {
  return random.permutation(list.length).map((place) => list[place]!);
}

/** The random numbers that a split is drawn with. */
export function splitRandom(seed: number): Random {
  return new Random(seed, SPLIT_STREAM);
}

/** The score of a probe that reads nothing. */
export function chanceOf(targets: ProbeTargets, { test }: Split): number {
  if (targets.kind === "values") return 0;
  const counts = new Map<number, number>();
  for (const e of test) counts.set(targets.labels[e]!, (counts.get(targets.labels[e]!) ?? 0) + 1);
  return Math.max(...counts.values()) / test.length;
}

/**
 * Fits a layer's probe to the training examples and to shuffled targets, and scores both on the held-out ones.
 * @param vectors activations [examples][dimensions]
 */
export function probeLayer(
  layer: number,
  vectors: readonly ArrayLike<number>[],
  targets: ProbeTargets,
  fit: ProbeFit,
): ProbedLayer {
  const { controls, seed } = fit;
  const examples = standardised(vectors, fit.split);
  const shuffles = Array.from({ length: controls }, (_, draw) => new Random(seed, draw + SHUFFLE_STREAM));
  const { score, interval, others } =
    targets.kind === "classes"
      ? scoreClasses(examples, targets.labels, fit, shuffles)
      : scoreValues(examples, targets.rows, fit, shuffles);
  if (controls === 0) return { layer, score, interval };
  const control = others.reduce((sum, each) => sum + each, 0) / controls;
  return { layer, score, interval, control, selectivity: score - control };
}

interface Scores {
  readonly score: number;
  readonly interval: [number, number];
  /** Scores of the shuffles. */
  readonly others: readonly number[];
}

function scoreClasses(
  examples: Examples,
  labels: readonly number[],
  { method, l2, split }: ProbeFit,
  shuffles: readonly Random[],
): Scores {
  const labellings = [labels, ...shuffles.map((random) => shuffled(labels, random))];
  const read = classify(method, examples, labellings.map((all) => split.train.map((e) => all[e]!)), l2); // biome-ignore format: one line
  const [hits, ...others] = read.map((own, l) => own.filter((c, t) => c === labellings[l]![split.test[t]!]).length);
  const { length } = split.test;
  return { score: hits! / length, interval: wilson(hits!, length), others: others.map((count) => count / length) };
}

function scoreValues(
  examples: Examples,
  rows: readonly ArrayLike<number>[],
  { l2, split, seed }: ProbeFit,
  shuffles: readonly Random[],
): Scores {
  const orders = [rows, ...shuffles.map((random) => shuffled(rows, random))];
  const part = (all: readonly ArrayLike<number>[], places: readonly number[]) => matrixOf(places.map((e) => all[e]!));
  const fits = ridge(
    examples.train,
    orders.map((all) => part(all, split.train)),
    l2,
  );
  const errors = fits.map((fit, o) => squaresOf(outputsOf(fit, examples.test), part(orders[o]!, split.test)));
  const [own, ...others] = errors.map(determination);
  const resamples = resamplesOf(split.test.length, RESAMPLES, new Random(seed, BOOTSTRAP_STREAM));
  const { low, high } = interval(errors[0]!, determination, resamples);
  return { score: own!, interval: [low ?? own!, high ?? own!], others };
}

/** A held-out example's squared error, and its squared distance from the mean. */
interface Squares {
  readonly error: number;
  readonly spread: number;
}

function squaresOf(outputs: Matrix, targets: Matrix): Squares[] {
  const means = meansOf(targets);
  const { rows, columns } = targets;
  return Array.from({ length: rows }, (_, e) => {
    let [error, spread] = [0, 0];
    for (let c = 0; c < columns; c++) {
      const target = targets.data[e * columns + c]!;
      error += (target - outputs.data[e * columns + c]!) ** 2;
      spread += (target - means[c]!) ** 2;
    }
    return { error, spread };
  });
}

/** R² over all outputs together; 0 of targets that are all the same. */
function determination(all: readonly Squares[]): number {
  const [error, spread] = [all.reduce((sum, e) => sum + e.error, 0), all.reduce((sum, e) => sum + e.spread, 0)];
  return spread === 0 ? 0 : 1 - error / spread;
}

/** Activations with each dimension standardised by the training examples; one that never changes is 0. */
function standardised(vectors: readonly ArrayLike<number>[], { train, test }: Split): Examples {
  const own = matrixOf(train.map((e) => vectors[e]!));
  const means = meansOf(own);
  const variances = meansOf({ ...own, data: own.data.map((value, i) => (value - means[i % own.columns]!) ** 2) });
  const scaled = (part: Matrix): Matrix => ({
    ...part,
    data: part.data.map((value, i) => {
      const variance = variances[i % part.columns]!;
      return variance > 0 ? (value - means[i % part.columns]!) / Math.sqrt(variance) : 0;
    }),
  });
  return { train: scaled(own), test: scaled(matrixOf(test.map((e) => vectors[e]!))) };
}

/** Wilson's 95 % interval of a share. @param hits of `count` trials */
export function wilson(hits: number, count: number): [number, number] {
  const z = 1.959964;
  const share = hits / count;
  const centre = share + (z * z) / (2 * count);
  const spread = z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count));
  const size = 1 + (z * z) / count;
  return [Math.max(0, (centre - spread) / size), Math.min(1, (centre + spread) / size)];
}
