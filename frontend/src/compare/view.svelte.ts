import type { HeadComparison } from "../../../backend/common/api/documents.ts";
import type { ModelInfo } from "../../../backend/common/api/models.ts";
import { command, dataFile } from "../../../backend/common/command-line.ts";
import { get } from "../api/client.ts";

import { gridMetric } from "../components/head-metrics/gridMetric.svelte.ts";
import { headMetrics } from "../components/head-metrics/headMetrics.svelte.ts";
import type { Metric } from "../components/head-metrics/metrics.ts";
import { Answer } from "../state/answer.svelte.ts";
import { number, text } from "../state/codecs.ts";
import { urlParam } from "../state/url.svelte.ts";
import { type ScoreDocument, workspace } from "../state/workspace.svelte.ts";
import { closest } from "./documents.ts";

/** Best heads that are named, as the command line's default. */
const BEST = 5;

/** The model that the present one is compared with; "" for none. */
export const secondParam = urlParam("second", text());
/** Its score document; "" for the one that was made most like the first model's. */
export const secondScoresParam = urlParam("second-scores", text());
/** Number of the best heads that are named. */
export const bestParam = urlParam("best", number(BEST, { least: 1, most: 100, whole: true }));

/** Two models' heads by one metric, by the present choices. */
class ComparisonView {
  readonly info = new Answer<ModelInfo>();
  readonly #answer = new Answer<HeadComparison>();

  /** The metric that both are compared by; its document is absent where the first model has none. */
  readonly metric: Pick<Metric, "probe" | "name" | "document"> = $derived(
    gridMetric.awaited ?? gridMetric.kept ?? { probe: "induction", name: "induction" },
  );

  readonly #ofSecond: readonly ScoreDocument[] = $derived(
    this.info.value === undefined ? [] : workspace.documentsOf(this.info.value),
  );

  /** Score documents of the second model by the same probe that have the metric. */
  readonly choices: readonly ScoreDocument[] = $derived(
    this.#ofSecond.filter(
      ({ probe, metrics }) => probe === this.metric.probe && Object.hasOwn(metrics, this.metric.name),
    ),
  );

  readonly first: ScoreDocument | undefined = $derived(
    this.metric.document ??
      closest(
        workspace.documents.filter(
          ({ probe, metrics }) => probe === this.metric.probe && Object.hasOwn(metrics, this.metric.name),
        ),
        undefined,
      ),
  );

  readonly second: ScoreDocument | undefined = $derived(
    this.choices.find(({ id }) => id === secondScoresParam.value) ?? closest(this.choices, this.first),
  );

  /** The request for the comparison; "" while one of the two has no scores. */
  readonly path = $derived.by(() => {
    const { first, second, metric } = this;
    if (first === undefined || second === undefined) return "";
    const query = { first: first.id, second: second.id, metric: metric.name, top: String(bestParam.value) };
    return `/api/comparison?${new URLSearchParams(query)}`;
  });

  /** The comparison of the present choices alone; undefined while it is awaited. */
  get comparison(): HeadComparison | undefined {
    return this.#answer.value;
  }

  get problem() {
    return this.info.problem ?? this.#answer.problem;
  }

  /** True if every score document of both models has been read, so that "none" is an answer. */
  readonly settled = $derived(
    headMetrics.settled &&
      this.info.value !== undefined &&
      workspace.scoresOf(this.info.value).length === this.#ofSecond.length,
  );

  /** The command line that gives the comparison. */
  command(): string {
    const { first, second, metric } = this;
    const top = bestParam.value === BEST ? undefined : bestParam.value;
    return command(["compare", dataFile(first!.id), dataFile(second!.id)], { metric: metric.name, top });
  }

  /** Keeps to the second model and to the comparison of the present choices; run in an effect. */
  follow(): void {
    const { path } = this;
    const ref = secondParam.value;
    this.info.follow(ref || undefined, (call) => get<ModelInfo>(`/api/models/${encodeURIComponent(ref)}`, call));
    this.#answer.follow(path || undefined, (call) => get<HeadComparison>(path, call));
  }
}

export const comparisonView = new ComparisonView();
