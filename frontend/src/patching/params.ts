import type { PairInput } from "../../../backend/common/api/patching.ts";
import { METRICS } from "../../../backend/common/metrics.ts";
import { PATH_ENDS, PATH_MLPS } from "../../../backend/common/patching.ts";
import { choice, heads, json, number } from "../state/codecs.ts";
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
/** Receivers of path patching, of one layer. */
export const into = urlParam("into", heads());
export const through = urlParam("through", choice(PATH_ENDS, "k"));
/** The MLPs on a path: frozen, or computed again. */
export const mlps = urlParam("mlps", choice(PATH_MLPS, "frozen"));
/** The measure of an answer: a part of the pair's question, on every page that asks it. */
export const pairMetric = urlParam("pair-metric", choice(METRICS, "logit-diff"));
/** Position that is marked in the shown pair. */
export const positionParam = urlParam("position", holdCodec);
