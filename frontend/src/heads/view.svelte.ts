import type { HeadShape } from "../../../backend/common/heads/head.ts";
import { asKvHeads, asQueryHeads, picked } from "../components/head-choice/algebra.ts";
import { type Ranked, rank, type SelectMode } from "../components/head-grid/grid.ts";
import { type Scale, scaleOf } from "../components/head-grid/scale.ts";
import { selection } from "../state/selection.svelte.ts";
import { view } from "../state/url.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { search, topCount } from "./finder/finder.ts";
import { headMetrics } from "./headMetrics.svelte.ts";
import { chosenMetric, type Metric, type MetricName, readMetricName } from "./metrics.ts";
import { findParam, fromParam, leastParam, metricParam, orderParam, scaleParam, toParam } from "./params.ts";

/** The Heads page's view of the present model by the present choices. */
class HeadsView {
  /** Number of heads from the top that are marked while the slider is dragged; undefined otherwise. */
  draft = $state<number>();

  readonly shape: HeadShape | undefined = $derived(workspace.info.value);
  readonly metric: Metric | undefined = $derived(chosenMetric(headMetrics.metrics, metricParam.value));
  /** The metric that was asked for by its name and has not been measured; another one is shown meanwhile. */
  readonly awaited: MetricName | undefined = $derived.by(() => {
    const named = readMetricName(metricParam.value);
    return named?.probe === this.metric?.probe && named?.name === this.metric?.name ? undefined : named;
  });
  /** Of the metric's colours. */
  readonly scale: Scale = $derived(
    this.metric === undefined
      ? { range: [0, 1] }
      : scaleOf(this.metric, this.metric.values, {
          own: scaleParam.value === "own",
          definitions: workspace.definitions.value,
        }),
  );
  readonly ranked: readonly Ranked[] = $derived(this.metric === undefined ? [] : rank(this.metric.values));

  readonly found: readonly Ranked[] = $derived.by(() => {
    const last = (this.shape?.layers ?? 1) - 1;
    const to = toParam.value < 0 ? last : Math.min(last, toParam.value);
    const given = Number(leastParam.value);
    const least = leastParam.value.trim() === "" || Number.isNaN(given) ? -Infinity : given;
    return search(this.ranked, {
      text: findParam.value,
      layers: [fromParam.value, to],
      least,
      order: orderParam.value,
    });
  });

  /** The found heads in the order that the slider takes them: by value, also where the list is by layer. */
  readonly best: readonly Ranked[] = $derived(
    orderParam.value === "layer" ? this.found.toSorted((a, b) => a.rank - b.rank) : this.found,
  );

  /** The selection as the metric's axis has it: of a metric over KV heads those that the selected heads read. */
  readonly chosen: readonly string[] = $derived.by(() => {
    if (this.draft !== undefined) return this.best.slice(0, this.draft).map(({ name }) => name);
    if (this.metric?.axis !== "kvHeads" || this.shape === undefined) return selection.value;
    return asKvHeads(selection.value, this.shape);
  });

  /** Number of the found heads, best first, that are exactly the selected ones; 0 for another choice. */
  readonly top = $derived(this.draft ?? topCount(this.best, this.chosen));

  /** As `top`, of all heads, highest first: what the command line's top:N@FILE stands for. */
  readonly topOfAll = $derived(topCount(this.ranked, this.chosen));

  /** Takes heads of the metric's axis into the selection of query heads. */
  select(names: readonly string[], mode: SelectMode): void {
    if (this.metric === undefined || this.shape === undefined) return;
    selection.value = picked(selection.value, asQueryHeads(names, this.metric.axis, this.shape), mode);
  }

  /** Selects so many of the found heads, best first. */
  selectTop(count: number): void {
    this.draft = undefined;
    this.select(
      this.best.slice(0, count).map(({ name }) => name),
      "replace",
    );
  }

  /** The query head that a head of the metric's axis opens: of a KV head the first that reads it. */
  opened(name: string): string {
    if (this.metric === undefined || this.shape === undefined) return name;
    return asQueryHeads([name], this.metric.axis, this.shape)[0]!;
  }

  /** Lets every head through the finder. */
  clearSearch(): void {
    view.change({
      ...findParam.to(""),
      ...fromParam.to(0),
      ...toParam.to(-1),
      ...leastParam.to(""),
    });
  }
}

export const headsView = new HeadsView();
