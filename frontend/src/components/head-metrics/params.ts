import { choice, text } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";

/** The metric that colours the grid and ranks the heads, by its id or its name; "" for the best there is. */
export const metricParam = urlParam("metric", text());
/** Span of the colours: all values that a metric can have, or those that it has. */
export const scaleParam = urlParam("scale", choice(["whole", "own"], "whole"));
/** A pattern of the reader's own: an expression, or pairs [query, key] as JSON. */
export const patternParam = urlParam("pattern", text());

/** The id of a text's score among the metrics that colour a grid. */
export function textMetricId(name: string): string {
  return `text#${name}`;
}
