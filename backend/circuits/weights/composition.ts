import type { Tensor } from "@tensorflow/tfjs";
import { formatHead, type Head } from "../../common/heads/head.ts";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import {
  byHead,
  byLayer,
  checkHeads,
  type HeadFactors,
  headFactors,
  type LayerHeads,
  type WeightWork,
} from "./factors.ts";

/** Composition of an earlier head with a later one, each in [0, 1]. */
export interface Composition {
  /** The earlier head, LAYER.HEAD. */
  readonly from: string;
  readonly to: string;
  /** ||OV_from QK_to|| over the product of the two norms, all Frobenius: what the later head's queries read of the earlier's output. */
  readonly q: number;
  /** The same of keys: ||OV_from QK_toᵀ||. */
  readonly k: number;
  /** The same of values: ||OV_from OV_to||. */
  readonly v: number;
}

/**
 * Composition scores of every ordered pair of some heads, the first in an earlier layer. No random baseline is subtracted: two
 * random heads have about sqrt(d_head / d_model) or less.
 * @returns in order of the receivers' layers, senders within
 * @throws HeadscopeError (usage) for heads that the model lacks
 * @see Elhage et al. 2021, A Mathematical Framework for Transformer Circuits
 */
export async function compositionScores(
  model: Model,
  heads: readonly Head[],
  work: WeightWork,
): Promise<Composition[]> {
  checkHeads(model, heads);
  const layers = byLayer(heads);
  const found: Composition[] = [];
  for (const [r, receivers] of layers.entries()) {
    const readers = tf.tidy(() => readersOf(headFactors(model, receivers.layer, receivers.heads)));
    try {
      for (const senders of layers.slice(0, r)) {
        const values = tf.tidy(() => layerScores(sendersOf(headFactors(model, senders.layer, senders.heads)), readers));
        found.push(...pairsOf(senders, receivers, values));
        await work.turn();
      }
    } finally {
      tf.dispose(Object.values(readers));
    }
    work.progress?.(r + 1, layers.length, "composition, layers");
  }
  return found;
}

/** The readers' sides of later heads, and the Gram matrices of what stands behind them [heads, d_head, d_head]. */
type Readers = HeadFactors & {
  readonly qq: Tensor;
  readonly kk: Tensor;
  readonly oo: Tensor;
  /** Norms of QK and OV [heads]. */
  readonly qkNorm: Tensor;
  readonly ovNorm: Tensor;
};

function readersOf(factors: HeadFactors): Readers {
  const { q, k, v, o } = factors;
  const [qq, kk, vv, oo] = [byHead(q, q, true), byHead(k, k, true), byHead(v, v, true), byHead(o, o, false, true)];
  return { ...factors, qq, kk, oo, qkNorm: productNorm(qq, kk), ovNorm: productNorm(vv, oo) };
}

/** The writing sides of earlier heads. */
interface Senders {
  /** [heads, d_head, d_model] */
  readonly o: Tensor;
  /** W_Vᵀ W_V [heads, d_head, d_head]. */
  readonly vv: Tensor;
  /** [heads] */
  readonly ovNorm: Tensor;
}

function sendersOf({ v, o }: HeadFactors): Senders {
  const vv = byHead(v, v, true);
  return { o, vv, ovNorm: productNorm(vv, byHead(o, o, false, true)) };
}

/** ||A B|| from AᵀA and B Bᵀ. @param left, right [heads, d_head, d_head] @returns [heads] */
function productNorm(left: Tensor, right: Tensor): Tensor {
  return tf.sqrt(tf.relu(tf.sum(tf.mul(left, right), [1, 2])));
}

/** Scores q, k and v of the heads of two layers, [senders][receivers] each. */
function layerScores({ o, vv, ovNorm }: Senders, readers: Readers): Record<"q" | "k" | "v", number[][]> {
  const [S, D, M] = o.shape as [number, number, number];
  const R = readers.q.shape[0]!;
  const written = tf.reshape(o, [S * D, M]);
  const score = (reader: Tensor, behind: Tensor, norm: Tensor): number[][] => {
    // W_O of the sender times what the receiver reads with [senders, receivers, d_head, d_head].
    const reading = tf.reshape(tf.transpose(reader, [1, 0, 2]), [M, R * D]);
    const middle = tf.transpose(tf.reshape(tf.matMul(written, reading), [S, D, R, D]), [0, 2, 1, 3]);
    // ||A X B||² = sum of (AᵀA X) times (X B Bᵀ), entry by entry.
    const left = tf.reshape(byHead(vv, tf.reshape(tf.transpose(middle, [0, 2, 1, 3]), [S, D, R * D])), [S, D, R, D]);
    const right = byHead(tf.reshape(tf.transpose(middle, [1, 0, 2, 3]), [R, S * D, D]), behind).reshape([R, S, D, D]);
    const square = tf.sum(tf.mul(tf.transpose(left, [0, 2, 1, 3]), tf.transpose(right, [1, 0, 2, 3])), [2, 3]);
    const size = tf.mul(tf.expandDims(ovNorm, 1), tf.expandDims(norm, 0));
    return tf.divNoNan(tf.sqrt(tf.relu(square)), size).arraySync() as number[][];
  };
  return {
    q: score(readers.q, readers.kk, readers.qkNorm),
    k: score(readers.k, readers.qq, readers.qkNorm),
    v: score(readers.v, readers.oo, readers.ovNorm),
  };
}

function pairsOf(
  senders: LayerHeads,
  receivers: LayerHeads,
  { q, k, v }: Record<"q" | "k" | "v", number[][]>,
): Composition[] {
  return receivers.heads.flatMap((to, r) =>
    senders.heads.map((from, s) => ({
      from: formatHead({ layer: senders.layer, head: from }),
      to: formatHead({ layer: receivers.layer, head: to }),
      q: q[s]![r]!,
      k: k[s]![r]!,
      v: v[s]![r]!,
    })),
  );
}
