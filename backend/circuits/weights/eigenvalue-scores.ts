import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, type Head } from "../../common/heads/head.ts";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import {
  byHead,
  byLayer,
  checkHeads,
  embeddingProduct,
  foretellsTokens,
  headFactors,
  type WeightWork,
} from "./factors.ts";
import { type Columns, columnsOf, eigenvalues, modulus } from "./spectrum.ts";

/** A score of what a head's circuit does to a token, from the eigenvalues of the full circuit over the vocabulary. */
export type EigenvalueScore = "copying" | "matching";

/**
 * Sum of the eigenvalues' real parts over the sum of their absolute values, in [-1, 1], by head ("18.6").
 *
 * copying: of W_E W_V W_O W_U, positive where attending to a token raises that token's own logit.
 * matching: of W_E W_Q W_Kᵀ W_Eᵀ, positive where a token looks for itself.
 *
 * Their non-zero eigenvalues are those of [d_head, d_head] matrices, W_O W_U W_E W_V and W_Kᵀ W_Eᵀ W_E W_Q, so that nothing of
 * the vocabulary's square is formed. The weights are taken as they are: no gains of norms, no positions.
 * @throws HeadscopeError for heads that the model lacks, one that does not foretell the tokens that it reads, weights that are no numbers
 * @see Elhage et al. 2021, A Mathematical Framework for Transformer Circuits
 */
export async function eigenvalueScores(
  model: Model,
  score: EigenvalueScore,
  heads: readonly Head[],
  work: WeightWork,
): Promise<Map<string, number>> {
  checkHeads(model, heads);
  if (!foretellsTokens(model))
    throw new HeadscopeError("unsupported", `${model.ref} does not foretell the tokens that it reads: it has no ${score} score`, {
      remedy: "choose a language model",
    }); // biome-ignore format: one line
  const product = await embeddingProduct(model, score === "copying" ? "unembed" : "embed", work);
  const scores = new Map<string, number>();
  const layers = byLayer(heads);
  try {
    for (const [i, { layer, heads: own }] of layers.entries()) {
      const circuits = tf.tidy(() => circuitsOf(model, score, { layer, heads: own }, product));
      own.forEach((head, h) => {
        scores.set(formatHead({ layer, head }), balance(columnsOf(circuits, h)));
      });
      circuits.dispose();
      work.progress?.(i + 1, layers.length, `${score}, layers`);
      await work.turn();
    }
    return scores;
  } finally {
    product.dispose();
  }
}

/** The circuits over the vocabulary, as matrices that have their non-zero eigenvalues [heads, d_head, d_head]. */
function circuitsOf(
  model: Model,
  score: EigenvalueScore,
  { layer, heads }: { layer: number; heads: readonly number[] },
  product: Tensor,
): Tensor {
  const { q, k, v, o } = headFactors(model, layer, heads);
  const stacked = tf.tile(tf.expandDims(product, 0), [heads.length, 1, 1]); // [heads, d_model, d_model]
  return score === "copying" ? byHead(byHead(o, stacked), v) : byHead(byHead(k, stacked, true), q);
}

/** Sum of real parts over sum of absolute values; 0 where all eigenvalues are 0. */
function balance(circuit: Columns): number {
  const all = eigenvalues(circuit);
  const size = all.reduce((sum, value) => sum + modulus(value), 0);
  return size === 0 ? 0 : all.reduce((sum, { re }) => sum + re, 0) / size;
}
