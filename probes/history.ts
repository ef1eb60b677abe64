import { HISTORY_FORMAT, type headHistorySchema } from "../backend/common/api/documents.ts";
import type { Data } from "../backend/common/api/fields.ts";
import type { HeadScores } from "../backend/common/heads/scores.ts";
import type { Model } from "../backend/models/model.ts";
import { type ProbeContext, probe } from "./index.ts";

/** A probe's scores of every head at every saved step of a run. */
export type HeadHistory = Data<typeof headHistorySchema>;

/** The saved steps of a run, and how to come by their models. */
export interface SavedSteps {
  readonly run: string;
  /** At least one, ascending. */
  readonly steps: readonly number[];
  /** Loads the model of a step; it is disposed of here. */
  load(step: number): Promise<Model>;
  /** The user's inputs to score, checked against the first model. */
  inputs?(model: Model): Promise<Pick<ProbeContext, "tokens" | "cases">>;
}

/**
 * Runs a probe on every saved step of a run, always on the same rows: one model at a time is in memory.
 * @param name of the probe
 * @param params by name, as values or text
 * @throws HeadscopeError as `probe` does
 */
export async function probeHistory(
  name: string,
  params: Readonly<Record<string, unknown>>,
  { run, steps, load, inputs }: SavedSteps,
  { progress, ...context }: ProbeContext = {},
): Promise<HeadHistory> {
  let data: Pick<ProbeContext, "tokens" | "cases"> | undefined;
  const documents: HeadScores[] = [];
  for (const [i, step] of steps.entries()) {
    progress?.(i, steps.length, `${name}, saved steps`);
    context.signal?.throwIfAborted();
    const model = await load(step);
    try {
      data ??= (await inputs?.(model)) ?? {};
      documents.push(await probe(model, name, params, { ...context, ...data }));
    } finally {
      model.dispose();
    }
  }
  const { model, params: used, tokens, seed, created, headscope, metrics, summary } = documents.at(-1)!;
  return {
    format: HISTORY_FORMAT,
    run,
    model,
    probe: name,
    params: used,
    tokens,
    seed,
    created,
    headscope,
    steps,
    metrics: Object.fromEntries(
      Object.entries(metrics).map(([metric, { axis }]) => [
        metric,
        { axis, values: documents.map((document) => document.metrics[metric]!.values) },
      ]),
    ),
    summary: Object.fromEntries(
      Object.keys(summary).map((key) => [key, documents.map((document) => document.summary[key]!)]),
    ),
  };
}
