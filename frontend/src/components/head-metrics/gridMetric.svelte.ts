import { choice, text } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { headMetrics } from "./headMetrics.svelte.ts";
import { chosenMetric, type Metric, type ProbeMetric, readMetricName } from "./metrics.ts";
import { type MetricScale, metricScale } from "./scale.ts";

/** The metric that colours the grid and ranks the heads, by its id or its name; "" for the best there is. */
export const metricParam = urlParam("metric", text());
/** Span of the colours: all values that a metric can have, or those that it has. */
export const scaleParam = urlParam("scale", choice(["whole", "own"], "whole"));

/** The metric that grids of the present model's heads are coloured by. */
class GridMetric {
  readonly value: Metric | undefined = $derived(chosenMetric(headMetrics.metrics, metricParam.value));

  /** The metric that was asked for by its name and has not been measured; another one is shown meanwhile. */
  readonly awaited: ProbeMetric | undefined = $derived.by(() => {
    const named = readMetricName(metricParam.value);
    return named?.probe === this.value?.probe && named?.name === this.value?.name ? undefined : named;
  });

  /** Of its colours. */
  readonly scale: MetricScale = $derived(
    this.value === undefined
      ? { range: [0, 1] }
      : metricScale(this.value, this.value.values, {
          own: scaleParam.value === "own",
          definitions: workspace.definitions.value,
        }),
  );
}

export const gridMetric = new GridMetric();
