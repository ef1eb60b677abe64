import type { HeadComparison } from "../../../backend/common/api/documents.ts";
import { readHead } from "../../../backend/common/heads/head.ts";
import { metricParam } from "../components/head-metrics/params.ts";

import { openHead, selection } from "../state/selection.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { groupStart } from "./finding.ts";
import { comparisonView, secondParam, secondScoresParam } from "./view.svelte.ts";

/** Parameters for `view.href` to open the card of a compared head on the Heads page, with its model and metric. @param side 0 or 1 @param head LAYER.HEAD or KV LAYER.HEAD */
export function headLink(comparison: HeadComparison, side: number, head: string): Record<string, string | undefined> {
  const { axis, metric, models } = comparison;
  const name = head.replace(/^KV /, "");
  const opened = axis === "heads" ? name : groupStart(readHead(name)!, models[side]!.model);
  const document = side === 0 ? comparisonView.first : comparisonView.second;
  const shown = { ...openHead.to(opened), ...metricParam.to(document === undefined ? "" : `${document.id}#${metric}`) };
  if (side === 0) return shown;
  // The two change places, so that the way back to the comparison finds both.
  const back = { ...secondParam.to(workspace.model), ...secondScoresParam.to(comparisonView.first?.id ?? "") };
  return { ...shown, ...back, ...workspace.withModel(secondParam.value), ...selection.to([]) };
}
