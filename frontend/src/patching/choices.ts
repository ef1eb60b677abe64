import type { MetricName } from "../../../backend/common/metrics.ts";
import type { PatchNode, PatchPlace, PathMlps } from "../../../backend/common/patching.ts";

/** Activations that can be patched, in the order of the computation, with what each is. */
export const NODE_WORDS: Readonly<Record<PatchNode, string>> = {
  resid_pre: "residual stream before the layer",
  q: "queries",
  k: "keys, of KV heads",
  v: "values, of KV heads",
  pattern: "attention patterns",
  z: "head outputs",
  attn_out: "what attention writes",
  resid_mid: "residual stream between attention and MLP",
  mlp_out: "what the MLP writes",
  resid_post: "residual stream behind the layer",
};
export const PATCH_LIST = Object.keys(NODE_WORDS) as PatchNode[];

/** One place at a time. */
export const PLACES: Readonly<Record<PatchPlace, string>> = { head: "Head", position: "Position", layer: "Layer" };
export const PLACE_LIST = Object.keys(PLACES) as PatchPlace[];

/** The measures of an answer, with what each is. */
export const METRIC_WORDS: Readonly<Record<MetricName, string>> = {
  "logit-diff": "logit difference",
  probability: "probability of the answer",
  "probability-diff": "probability of the answer less the wrong one's",
  "log-probability": "log-probability of the answer",
  kl: "KL from the clean run",
  loss: "loss of the answer",
};
export const METRIC_LIST = Object.keys(METRIC_WORDS) as MetricName[];

/** The two ways of path patching, with what each does to the MLPs between two heads. */
export const MLPS: Readonly<Record<PathMlps, string>> = {
  frozen: "What the earlier head writes reaches these heads as it is; the MLPs between stay as in the corrupt run",
  recomputed:
    "The MLPs between are computed again with what the earlier head writes, as Wang et al. 2023 do; the heads between stay",
};
