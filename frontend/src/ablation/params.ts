import { METRICS } from "../../../backend/common/metrics.ts";
import { ABLATION_METHODS } from "../../../backend/common/words.ts";
import { choice, flag, json, list, number } from "../state/codecs.ts";
import { holdCodec } from "../state/hold.ts";
import { urlParam } from "../state/url.svelte.ts";
import type { Extra } from "./interventions/interventions.ts";
import { PART_CHOICES } from "./loss/part.ts";

/** Values that stand in for a head's output. */
export const method = urlParam("method", choice(ABLATION_METHODS, "zero"));
/** Of mean: one mean a position. */
export const byPosition = urlParam("by-position", flag());
/** Draws of other heads; 0 for no control. */
export const controls = urlParam("controls", number(5, { least: 0, most: 20, whole: true }));
/** Of the control's draws, of resample's pairing and of random tokens. */
export const seed = urlParam("seed", number(0, { least: 0, whole: true }));
/** Heads of the selection that are left in for now. */
export const switchedOff = urlParam("left-in", list());
/** Interventions other than on whole heads. */
export const extras = urlParam("interventions", json<readonly Extra[]>([]));
/** The token that is held. */
export const heldToken = urlParam("token", holdCodec);
/** Id of the wrong answer that the held token is compared with; -1 for none. */
export const wrongToken = urlParam("wrong", number(-1, { least: -1, whole: true }));
/** The part of the text that the verdict is about. */
export const partParam = urlParam("over", choice(PART_CHOICES, "auto"));
/** The metric by which the held token is measured against the wrong answer: that of the pair's question on every page. */
export const answerMetric = urlParam("pair-metric", choice(METRICS, "logit-diff"));
/** New tokens of the continuations; 0 for none. */
export const newTokens = urlParam("continue", number(24, { least: 0, most: 64, whole: true }));
/** Random tokens in the segment that is repeated; 0 for 25, or as many as fit. */
export const segment = urlParam("segment", number(0, { least: 0, whole: true }));
