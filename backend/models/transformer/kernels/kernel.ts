import type { Tensor } from "@tensorflow/tfjs";
import type { AttentionKernelName } from "../../../common/words.ts";
import type { ModelConfig } from "../../config.ts";

/** Learned weights of a key that stands beside those of the tokens and that every query reaches, at no position. */
export interface ExtraWeights {
  /** The key, as it is multiplied with queries [kv heads, d_head]. */
  keyBias?: Tensor | undefined;
  /** Its value; default 0 [kv heads, d_head]. */
  valueBias?: Tensor | undefined;
  /** Its score, where that is the same for all queries [heads]. */
  sinkLogit?: Tensor | undefined;
}

/** A rule by which queries weigh keys. */
export interface AttentionKernel {
  readonly name: AttentionKernelName;
  /** Words for a model's features: "sigmoid attention without normalisation". */
  readonly title: string;
  readonly source: string;
  /** The native kernels compute it; any other goes by plain tensors, in training, in forwards and over caches. */
  readonly fused: boolean;
  /** The weights of a query sum to 1, that of the extra key included. */
  readonly normalised: boolean;
  /** Learned weights of its extra key, where it has one; they begin at 0. */
  readonly extra?: readonly (keyof ExtraWeights)[];
  /** Features whose products the scores are, without `attn_scale`; default queries times `attn_scale`, and keys. */
  features?(x: Tensor): Tensor;
  /**
   * The weights of keys.
   * @param scores [rows, heads, query, key], at or below MASKED at keys that the query does not reach, the extra key last
   * @returns alike, 0 at keys that the query does not reach
   */
  weigh(scores: Tensor, config: ModelConfig): Tensor;
}
