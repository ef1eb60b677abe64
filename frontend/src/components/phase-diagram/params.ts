import { text } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";

/** Id of the sweep that is looked at; "" for the newest. */
export const sweepParam = urlParam("sweep", text());
/** Metric of its diagram; "" for the task's main one. */
export const sweepMetric = urlParam("phase", text());
