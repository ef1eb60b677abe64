import { text } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";

/** The group of runs whose curves are drawn by seed; "" for the first of the report. */
export const curveGroup = urlParam("setting", text());
/** Key of the metric that is drawn; "" for the first accuracy, or the first there is. */
export const curveMetric = urlParam("curve", text());
