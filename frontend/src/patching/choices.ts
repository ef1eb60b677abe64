import { METRIC_WORDS, type MetricName } from "../../../backend/common/metrics.ts";
import type { PatchDirection, PatchMethod, PatchNode, PatchPlace, PathMlps } from "../../../backend/common/patching.ts";
import { figure, signedNats } from "../format.ts";

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
  mlp_post: "neurons of the MLP",
  mlp_out: "what the MLP writes",
  resid_post: "residual stream behind the layer",
};
export const PATCH_LIST = Object.keys(NODE_WORDS) as PatchNode[];

/** One place at a time. */
export const PLACES: Readonly<Record<PatchPlace, string>> = { head: "Head", position: "Position", layer: "Layer" };
export const PLACE_LIST = Object.keys(PLACES) as PatchPlace[];

/** Words for the effect of a place, by the direction of patching. */
export const EFFECTS: Readonly<
  Record<PatchDirection, { readonly word: string; readonly unit: string; readonly title: string }>
> = {
  denoise: {
    word: "restored",
    unit: "restored (0 corrupt, 1 clean)",
    title: "The corrupt prompt is run with the clean prompt's activation: what brings the answer back by itself",
  },
  noise: {
    word: "lost",
    unit: "lost (0 clean, 1 corrupt)",
    title: "The clean prompt is run with the corrupt prompt's activation: what the answer cannot do without",
  },
};

/** A metric in words. */
export function metricWords(metric: MetricName): string {
  return METRIC_WORDS[metric].words;
}

/** A value of a metric for people: those in logits with their sign. */
export function metricText(value: number, metric: MetricName): string {
  return metric === "logit-diff" ? signedNats(value) : figure(value).replace("-", "−");
}

/** The two ways to a table. */
export const METHODS: Readonly<Record<PatchMethod, { readonly label: string; readonly title: string }>> = {
  exact: { label: "exact", title: "A run for every place" },
  attribution: {
    label: "estimated",
    title:
      "Attribution patching: all places from one gradient; fast, and sometimes far off for the heads that matter most",
  },
};

/** The two ways of path patching, with what each does to the MLPs between two heads. */
export const MLPS: Readonly<Record<PathMlps, string>> = {
  frozen: "What the earlier head writes reaches these heads as it is; the MLPs between stay as in the corrupt run",
  recomputed:
    "The MLPs between are computed again with what the earlier head writes, as Wang et al. 2023 do; the heads between stay",
};
