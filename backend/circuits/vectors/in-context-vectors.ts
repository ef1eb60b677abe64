import { ANYTHING, checkOptions, FUNCTION, listOf, type Rules, whole } from "../../common/options.ts";
import { Random } from "../../common/random.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import type { Model } from "../../models/model.ts";
import { checkRow } from "../../models/tokens.ts";
import { blockHook, checkLayer } from "../../models/transformer/hook-points.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import type { Demonstration } from "./cases.ts";
import { promptActivations } from "./prompt-activations.ts";

/** Examples to make vectors of. */
export interface InContextVectorsOptions {
  /** Pairs of texts, each a text and the same as it is wanted. */
  examples: readonly Demonstration[];
  /** Layers behind which the stream is read, default all. */
  layers?: readonly number[] | undefined;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between prompts. */
  turn?: Turn;
}

const OPTIONS: Rules<InContextVectorsOptions> = {
  examples: { wants: "a list of {source, target}", fits: (value) => Array.isArray(value) && value.length > 0 },
  layers: listOf(whole(0)),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** The direction from sources to targets behind a layer. */
export interface InContextVector {
  readonly layer: number;
  /** Root mean square of the differences along the direction. */
  readonly length: number;
  /** Share of the differences' squares that lies along it: 1 where all differences are multiples of one. */
  readonly share: number;
  /** Mean length of the targets' streams at their last positions. */
  readonly residNorm: number;
  /** The direction, of this `length` [d_model]. */
  readonly vector: readonly number[];
}

/**
 * In-context vectors: by layer the first principal direction of what the last position's stream of a target has more than that of its
 * source. It is not centred, as in the paper's objective, mean (h · difference)²; the mean difference lies on its positive side.
 * @returns one a layer
 * @throws HeadscopeError for options that do not exist or do not fit, layers that the model lacks, what `checkRow` refuses, and
 * activations that are no numbers
 * @see Liu et al. 2023, In-context Vectors, section 3.2
 */
export async function inContextVectors(model: Model, options: InContextVectorsOptions): Promise<InContextVector[]> {
  checkOptions("inContextVectors", options, OPTIONS, ["examples"]);
  const { examples, progress, signal, turn = loopTurn(signal) } = options;
  const layers = options.layers ?? Array.from({ length: model.config.n_layers }, (_, layer) => layer);
  for (const layer of layers) checkLayer(model.config, layer);
  const prompts = examples.flatMap(({ source, target }) => [source, target]);
  prompts.forEach((row, i) => {
    checkRow(row, `example ${Math.floor(i / 2)}: ${i % 2 === 0 ? "source" : "target"}`, { config: model.config });
  });
  const names = layers.map((layer) => blockHook(layer, "hook_resid_post"));
  const read = { prompts, position: -1, label: "in-context vectors, prompts", progress, signal, turn };
  const streams = await promptActivations(model, names, read);
  return layers.map((layer, i) => {
    const differences = examples.map((_, e) => {
      const [source, target] = streams[i]!.slice(2 * e, 2 * e + 2);
      return Float64Array.from(target!, (x, d) => x - source![d]!);
    });
    const norms = examples.map((_, e) => Math.hypot(...streams[i]![2 * e + 1]!));
    return { layer, ...principal(differences), residNorm: norms.reduce((sum, norm) => sum + norm, 0) / norms.length };
  });
}

/** The vectors as interventions: each added behind its layer at all positions. @param strength factor on all of them */
export function vectorAdditions(vectors: readonly InContextVector[], strength: number): Intervention[] {
  return vectors.map(({ layer, vector }) => ({
    at: blockHook(layer, "hook_resid_post"),
    do: "add",
    with: vector.map((x) => strength * x),
  }));
}

const MOST_STEPS = 10_000;
/** Change of a unit vector's entries at which the power method has settled. */
const SETTLED = 1e-13;

/**
 * The first principal direction of some vectors, not centred, by the power method on their inner products.
 * @param vectors [n][d]
 */
export function principal(vectors: readonly Float64Array[]): Pick<InContextVector, "length" | "share" | "vector"> {
  const products = vectors.map((a) => Float64Array.from(vectors, (b) => dot(a, b)));
  const total = products.reduce((sum, row, i) => sum + row[i]!, 0);
  if (total === 0) return { length: 0, share: 0, vector: Array.from(vectors[0]!) };
  // A random start has a part along every direction.
  const random = new Random(0, vectors.length);
  let weights = unit(Float64Array.from(vectors, () => random.normal()));
  for (let step = 0; step < MOST_STEPS; step++) {
    const next = unit(Float64Array.from(products, (row) => dot(row, weights)));
    const moved = next.reduce((most, x, i) => Math.max(most, Math.abs(x - weights[i]!)), 0);
    weights = next;
    if (moved < SETTLED) break;
  }
  const square = dot(Float64Array.from(products, (row) => dot(row, weights)), weights); // biome-ignore format: one line
  // The sum along the direction u is that of the weights: u · vector i = sqrt(square) weight i.
  const sign = weights.reduce((sum, weight) => sum + weight, 0) < 0 ? -1 : 1;
  const length = Math.sqrt(square / vectors.length);
  const factor = (sign * length) / Math.sqrt(square);
  const vector = Array.from(vectors[0]!, (_, d) => factor * vectors.reduce((sum, own, i) => sum + weights[i]! * own[d]!, 0)); // biome-ignore format: one line
  return { length, share: square / total, vector };
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function unit(vector: Float64Array): Float64Array {
  const length = Math.sqrt(dot(vector, vector));
  return vector.map((x) => x / length);
}
