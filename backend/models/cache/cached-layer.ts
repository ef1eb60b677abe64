import type { ModelConfig } from "../config.ts";
import type { PatternReduction } from "../transformer/attention.ts";
import type { ExtraWeights } from "../transformer/kernels/kernel.ts";
import type { KvCache } from "./kv-cache.ts";
import type { Places } from "./places.ts";
import type { AttentionReader } from "./reader.ts";

/** One layer of a cache, the places of new tokens there, and what is asked of the attention over it. */
export interface CachedLayer {
  cache: KvCache;
  places: Places;
  /** The layer's number among those of the places. */
  index: number;
  config: ModelConfig;
  /** Weights of the key beside those of the tokens, in models that have one. */
  extra?: ExtraWeights | undefined;
  reductions: readonly PatternReduction[];
  /** Chooses what is read in this layer; default all that is held. */
  reader?: AttentionReader | undefined;
}
