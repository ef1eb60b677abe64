import type { HeadShape } from "../../../backend/common/heads/head.ts";
import { asKvHeads, asQueryHeads, picked } from "../components/head-choice/algebra.ts";
import { type Ranked, rank, type SelectMode } from "../components/head-grid/grid.ts";
import { gridMetric } from "../components/head-metrics/gridMetric.svelte.ts";
import { selection } from "../state/selection.svelte.ts";
import { view } from "../state/url.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { search, topCount } from "./finder/finder.ts";
import { findParam, fromParam, leastParam, orderParam, toParam } from "./params.ts";

/** The Heads page's view of the present model by the present choices. */
class HeadsView {
  /** Number of heads from the top that are marked while the slider is dragged; undefined otherwise. */
  draft = $state<number>();

  readonly shape: HeadShape | undefined = $derived(workspace.info.value);
  /** All heads, highest first; none while there are no values. */
  readonly ranked: readonly Ranked[] = $derived(
    gridMetric.value === undefined || gridMetric.value.text?.missing !== undefined ? [] : rank(gridMetric.value.values),
  );

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
    if (gridMetric.value?.axis !== "kvHeads" || this.shape === undefined) return selection.value;
    return asKvHeads(selection.value, this.shape);
  });

  /** Number of the found heads, best first, that are exactly the selected ones; 0 for another choice. */
  readonly top = $derived(this.draft ?? topCount(this.best, this.chosen));

  /** As `top`, of all heads, highest first: what the command line's top:N@FILE stands for. */
  readonly topOfAll = $derived(topCount(this.ranked, this.chosen));

  /** Takes heads of the metric's axis into the selection of query heads. */
  select(names: readonly string[], mode: SelectMode): void {
    if (gridMetric.value === undefined || this.shape === undefined) return;
    selection.value = picked(selection.value, asQueryHeads(names, gridMetric.value.axis, this.shape), mode);
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
    if (gridMetric.value === undefined || this.shape === undefined) return name;
    return asQueryHeads([name], gridMetric.value.axis, this.shape)[0]!;
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
