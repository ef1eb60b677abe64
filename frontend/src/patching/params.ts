import type { PairInput } from "../../../backend/common/api/patching.ts";
import { METRICS } from "../../../backend/common/metrics.ts";
import { PATCH_DIRECTIONS, PATCH_METHODS, PATH_ENDS, PATH_MLPS } from "../../../backend/common/patching.ts";
import { type Codec, choice, flag, json, list, number, sortHeads, text } from "../state/codecs.ts";
import { holdCodec } from "../state/hold.ts";
import { urlParam } from "../state/url.svelte.ts";
import { PATCH_LIST, PLACE_LIST } from "./choices.ts";

/** The pairs; none for the example that fits the model. */
export const pairsParam = urlParam("pairs", json<readonly PairInput[]>([]));
/** Number of the pair that is shown, from 0. */
export const shownPair = urlParam("pair", number(0, { least: 0, whole: true }));
/** One activation at a time, or the path from earlier heads into chosen ones. */
export const kind = urlParam("patch", choice(["node", "path"], "node"));
export const node = urlParam("node", choice(PATCH_LIST, "z"));
export const by = urlParam("by", choice(PLACE_LIST, "head"));

/** The parts of a text that are receivers: heads in their order, then MLPs (m5) and "logits", each once. */
export function readReceivers(text: string): readonly string[] {
  const parts = [...new Set(text.split(/[\s,]+/))];
  const others = parts.filter((part) => /^(m\d{1,4}|logits)$/.test(part));
  return [...sortHeads(parts.filter((part) => /^\d{1,4}\.\d{1,4}$/.test(part))), ...others];
}
const receivers: Codec<readonly string[]> = { ...list(), decode: readReceivers };
/** Receivers of path patching. */
export const into = urlParam("into", receivers);
export const through = urlParam("through", choice(PATH_ENDS, "k"));
/** The MLPs on a path: frozen, or computed again. */
export const mlps = urlParam("mlps", choice(PATH_MLPS, "frozen"));
/** Through keys and values, all query heads that read a receiver's KV head receive. */
export const kvGroup = urlParam("kv-group", flag());
/** Senders of paths: all earlier heads, or MLPs and the embedding too. */
export const SENDERS = ["heads", "parts"] as const;
export const senders = urlParam("senders", choice(SENDERS, "heads"));
/** The run that is patched: the corrupt one (denoise) or the clean one (noise). */
export const direction = urlParam("direction", choice(PATCH_DIRECTIONS, "denoise"));
/** The measure of an answer: a part of the pair's question, on every page that asks it. */
export const pairMetric = urlParam("pair-metric", choice(METRICS, "logit-diff"));
/** A run for every place, or all of them estimated from one gradient. */
export const patchMethod = urlParam("patch-method", choice(PATCH_METHODS, "exact"));
/** Places that are patched together, with commas between; "" for the selected heads. */
export const together = urlParam("places", text());
/** Position that is marked in the shown pair. */
export const positionParam = urlParam("position", holdCodec);
