import { formatHead, type Head } from "../../common/heads/head.ts";
import { ANYTHING, checkOptions, FUNCTION, oneOf, type Rules, whole } from "../../common/options.ts";
import { COMPOSITION_SCOPES, type CompositionScope } from "../../common/words.ts";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { type Composition, compositionScores } from "./composition.ts";
import { type EigenvalueScore, eigenvalueScores } from "./eigenvalue-scores.ts";
import { byLayer, checkHeads, everyHead, foretellsTokens, headFactors, type WeightWork } from "./factors.ts";
import { type PositionKernel, positionKernels } from "./position-kernel.ts";
import { columnsOf, singularValues, timesTransposed, transposed, triangular } from "./spectrum.ts";
import { type HeadTokenPairs, largestTokenPairs } from "./token-pairs.ts";

/** A question about heads that their weights alone answer. */
export interface HeadWeightsOptions {
  heads: readonly Head[];
  /** Largest entries of each head's full OV circuit to give, with the ranks of its diagonal. Default 0: neither. */
  tokenPairs?: number;
  /** Distances, from 0 on, at which the kernel of positions is given. Default 0: none. */
  distances?: number;
  /** Default heads. */
  composition?: CompositionScope;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between the layers and chunks of the vocabulary. */
  turn?: Turn;
}

const OPTIONS: Rules<HeadWeightsOptions> = {
  heads: { wants: "a list of heads {layer, head}", fits: Array.isArray },
  tokenPairs: whole(0),
  distances: whole(0),
  composition: oneOf(COMPOSITION_SCOPES),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** Size of a head's circuit [d_model, d_model]. */
export interface CircuitSize {
  /** The five largest singular values, largest first; fewer where d_head is smaller. */
  readonly singular: readonly number[];
  /** Frobenius norm. */
  readonly norm: number;
}

/** A head by its weights. */
export interface HeadInWeights {
  /** LAYER.HEAD */
  readonly head: string;
  /** In [-1, 1]; absent where the model does not foretell the tokens that it reads, as is `matching`. */
  readonly copying?: number;
  readonly matching?: number;
  readonly ov: CircuitSize;
  readonly qk: CircuitSize;
}

/** Heads by their weights. */
export interface HeadWeights {
  model: { ref: string; digest: string };
  heads: HeadInWeights[];
  composition: Composition[];
  /** By head, where asked for. */
  tokenPairs?: HeadTokenPairs[];
  /** By head, where asked for. */
  positions?: PositionKernel[];
}

const SINGULAR_SHOWN = 5;

/**
 * Heads by their weights alone: singular values and norms of OV and QK, copying and matching scores, composition, and, where asked
 * for, the largest token pairs of the full OV circuit and the kernel of positions. The weights are taken as they are; load the model
 * with `process: ["fold_ln"]` for those with the norms' gains in them.
 * @returns heads in the order given
 * @throws HeadscopeError for options that do not exist or do not fit, heads that the model lacks, weights that are no numbers
 * @see Elhage et al. 2021, A Mathematical Framework for Transformer Circuits
 */
export async function headWeights(model: Model, options: HeadWeightsOptions): Promise<HeadWeights> {
  checkOptions("headWeights", options, OPTIONS, ["heads"]);
  const { heads, tokenPairs = 0, distances = 0, composition = "heads", progress, signal } = options;
  checkHeads(model, heads);
  const work: WeightWork = { turn: options.turn ?? loopTurn(signal), ...(progress ? { progress } : {}) };
  const sizes = await circuitSizes(model, heads, work);
  const scores = (score: EigenvalueScore): Promise<Map<string, number>> =>
    foretellsTokens(model) ? eigenvalueScores(model, score, heads, work) : Promise.resolve(new Map());
  const [copying, matching] = [await scores("copying"), await scores("matching")];
  const scoreOf = (name: EigenvalueScore, value: number | undefined) => (value === undefined ? {} : { [name]: value });
  const names = heads.map(formatHead);
  const pairs: HeadTokenPairs[] = [];
  if (tokenPairs > 0) for (const head of heads) pairs.push(await largestTokenPairs(model, head, tokenPairs, work));
  const kernels = distances > 0 ? await positionKernels(model, heads, distances, work) : [];
  return {
    model: { ref: model.ref, digest: model.digest },
    heads: names.map((head) => ({
      head,
      ...scoreOf("copying", copying.get(head)),
      ...scoreOf("matching", matching.get(head)),
      ...sizes.get(head)!,
    })),
    composition: await compositionScores(model, composition === "all" ? everyHead(model.config) : heads, work),
    ...(tokenPairs > 0 ? { tokenPairs: pairs } : {}),
    ...(distances > 0 ? { positions: names.map((name) => kernels.find(({ head }) => head === name)!) } : {}),
  };
}

async function circuitSizes(
  model: Model,
  heads: readonly Head[],
  work: WeightWork,
): Promise<Map<string, { ov: CircuitSize; qk: CircuitSize }>> {
  const sizes = new Map<string, { ov: CircuitSize; qk: CircuitSize }>();
  for (const { layer, heads: own } of byLayer(heads)) {
    for (const head of own) {
      const { q, k, v, o } = headFactors(model, layer, [head]);
      const ov = timesTransposed(triangular(columnsOf(v)), triangular(transposed(columnsOf(o))));
      const qk = timesTransposed(triangular(columnsOf(q)), triangular(columnsOf(k)));
      tf.dispose([q, k, v, o]);
      sizes.set(formatHead({ layer, head }), { ov: sizeOf(ov), qk: sizeOf(qk) });
      work.progress?.(sizes.size, heads.length, "singular values, heads");
      await work.turn();
    }
  }
  return sizes;
}

/** Size of a circuit from a small matrix of the same singular values. */
function sizeOf(small: ReturnType<typeof triangular>): CircuitSize {
  const singular = singularValues(small);
  return { singular: singular.slice(0, SINGULAR_SHOWN), norm: Math.hypot(...singular) };
}
