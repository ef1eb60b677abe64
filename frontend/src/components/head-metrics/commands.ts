import {
  type CommandPrompt,
  command,
  dataFile,
  parameterPairs,
  promptCommand,
} from "../../../../backend/common/command-line.ts";
import type { HeadScores } from "../../../../backend/common/heads/scores.ts";
import type { Metric } from "./metrics.ts";

/** The command that measures a score document again. */
function probeCommand(document: HeadScores, model: string): string {
  const { probe, params, seed } = document;
  return command(["probe", probe], { model, param: parameterPairs(params), ...(seed ? { seed } : {}) });
}

/** The command that gives a metric's numbers: the probe, or the run that measured them. @param run of a metric measured along training */
export function metricCommand(metric: Metric, model: string, run: string | undefined): string {
  if (metric.text) return metric.text.command ?? "";
  if (metric.document === undefined) return command(["runs", "show", run ?? model]);
  // What another project wrote was measured there: its file is all that can be read again.
  if (metric.document.headscope === undefined)
    return command(["export", "csv"], { scores: dataFile(metric.document.id), out: "heads.csv" });
  return probeCommand(metric.document, model);
}

/** The value of `--heads`: "top:8@FILE#METRIC" for the best of a score file over query heads, else the heads by name. */
export function headsOption(heads: readonly string[], metric: Metric | undefined, top: number): string {
  if (top === 0 || metric?.document === undefined || metric.axis !== "heads") return heads.join(",");
  return `top:${top}@${dataFile(metric.document.id)}#${metric.name}`;
}

/**
 * The command that takes the top N of a ranking: of query heads their ablation, of KV heads the mask that keeps them; where no
 * top N is chosen the one that gives the ranking.
 */
export function finderCommand(
  metric: Metric,
  { model, run, request, top }: { model: string; run: string | undefined; request: PromptRequest; top: number },
): string {
  if (metric.document === undefined || top === 0) return metricCommand(metric, model, run);
  if (metric.axis === "heads") return ablateCommand(model, request, headsOption([], metric, top));
  return command(["mask"], { scores: dataFile(metric.document.id), metric: metric.name, top, out: "mask.json" });
}

/** The body of POST /api/prompts; undefined while the model is unknown. */
type PromptRequest = (CommandPrompt & { readonly model?: string }) | undefined;

/** The command that ablates heads on the user's prompt. */
export function ablateCommand(model: string, request: PromptRequest, heads: string): string {
  return promptCommand("ablate", { ...request, model }, { heads });
}
