import { chosenMetric, documentMetrics, type Metric } from "../components/head-metrics/metrics.ts";
import { workspace } from "../state/workspace.svelte.ts";

/**
 * The metric by which Home shows the heads that copy: induction's, else that of the model's first scores. Only its document is
 * read. Undefined while there is none, or it is on its way.
 */
export function copyingMetric(): Metric | undefined {
  const entries = workspace.fittingScores;
  const entry = entries.find(({ probe }) => probe === "induction") ?? entries[0];
  const document = entry && workspace.document(entry.id);
  return document && chosenMetric(documentMetrics([document]), "");
}
