import { choice, flag, json, list, number, text } from "../state/codecs.ts";
import { urlParam } from "../state/url.svelte.ts";

/** Runs that are looked at; none given means the newest. */
export const runsParam = urlParam("runs", list());
/** The run whose checkpoints are looked at; "" for the first of the chosen ones. */
export const focusParam = urlParam("run", text());
/** Step of the checkpoint that is looked at; -1 for the last one, also while it trains. */
export const stepParam = urlParam("step", number(-1, { least: -1, whole: true }));
/** Keys of the metrics that are drawn; none given means all. */
export const curvesParam = urlParam("curves", list());
export const stepsScale = urlParam("steps", choice(["log", "linear"], "log"));
export const lossScale = urlParam("losses", choice(["linear", "log"], "linear"));
/** Weight of the past in the smoothed curves; 0 smooths nothing. */
export const smoothing = urlParam("smooth", number(0, { least: 0, most: 0.99 }));
/** True if the runs of a group are drawn as their mean and range. */
export const together = urlParam("together", flag());
/** True if every head of a single run has its line, not only the best one. */
export const headLines = urlParam("every", flag());
/** Head whose pattern is shown, LAYER.HEAD; "" for the best one. */
export const patternHead = urlParam("attend", text());
/** Token ids that the pattern is shown on; "" for an example. */
export const patternTokens = urlParam("tokens", text());
/** True if the form of a new run is open, and what is set in it. */
export const drafting = urlParam("new", flag());
export const draftTask = urlParam("task", text("induction"));
export const draftParams = urlParam("set", json<Readonly<Record<string, string>>>({}));
export const draftSeeds = urlParam("seeds", text("0"));
/** Parameters that a sweep varies, with their values. */
export const draftAxes = urlParam("over", json<readonly { readonly name: string; readonly values: string }[]>([]));
/** Probes that are measured along; "" for those of the task's defaults, "none" for none. */
export const draftProbes = urlParam("measure", text());
