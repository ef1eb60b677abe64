import { workspace } from "../../state/workspace.svelte.ts";
import { headMetrics } from "./headMetrics.svelte.ts";
import { chosenMetric, type Metric, type ProbeMetric, readMetricName } from "./metrics.ts";
import { metricParam, scaleParam } from "./params.ts";
import { type MetricScale, metricScale } from "./scale.ts";
import { textScores } from "./textScores.svelte.ts";

/** The metric that grids of the present model's heads are coloured by. */
class GridMetric {
  readonly value: Metric | undefined = $derived(textScores.shown ?? this.kept);

  /** The same, of those that were measured before: the best of them where the grid is coloured by a text. */
  get kept(): Metric | undefined {
    return chosenMetric(headMetrics.metrics, metricParam.value);
  }

  /** The metric that was asked for by its name and has not been measured; another one is shown meanwhile. */
  readonly awaited: ProbeMetric | undefined = $derived.by(() => {
    const named = readMetricName(metricParam.value);
    return named?.probe === this.kept?.probe && named?.name === this.kept?.name ? undefined : named;
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
