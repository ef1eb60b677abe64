import type { z } from "zod";
import { type Registry, registry } from "../backend/common/definitions/definition.ts";
import { HeadscopeError } from "../backend/common/errors.ts";
import { headModel } from "../backend/common/heads/model.ts";
import { checkTrials, type HeadScores } from "../backend/common/heads/scores.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole } from "../backend/common/options.ts";
import { createScores } from "../backend/heads/files.ts";
import type { ModelConfig } from "../backend/models/config.ts";
import { runsBegun } from "../backend/models/forward/forward.ts";
import type { Model } from "../backend/models/model.ts";
import { type PatternSums, type Probe, type ProbeContext, type ProbeResult, runTogether } from "./base.ts";
import { copying, matching } from "./copying.ts";
import { needleAblation } from "./effects/ablation.ts";
import { needleAttribution } from "./effects/attribution.ts";
import { functionVectorProbe } from "./function-vector.ts";
import { onTheFly } from "./on-the-fly.ts";
import { attentionSink } from "./patterns/attention-sink.ts";
import { currentToken } from "./patterns/current-token.ts";
import { duplicateToken } from "./patterns/duplicate-token.ts";
import { firstToken } from "./patterns/first-token.ts";
import { induction } from "./patterns/induction.ts";
import { longRange } from "./patterns/long-range.ts";
import { pattern } from "./patterns/pattern.ts";
import { previousToken } from "./patterns/previous-token.ts";
import { retrieval } from "./retrieval.ts";

/** Every probe that headscope has. */
export const probes: Registry<Probe> = registry<Probe>("probe", [
  induction,
  duplicateToken,
  previousToken,
  currentToken,
  firstToken,
  attentionSink,
  pattern,
  retrieval,
  onTheFly,
  longRange,
  needleAblation,
  needleAttribution,
  functionVectorProbe,
  copying,
  matching,
]);

export type { Probe, ProbeContext, ProbeResult, RetrievalCase } from "./base.ts";
export { patternProbe } from "./base.ts";
export { type Haystack, haystack } from "./haystack.ts";

/**
 * Scores every head of a model by one probe.
 * @param name of the probe, or a definition of your own
 * @param params by name, as values or text; defaults are filled in
 * @throws HeadscopeError for an unknown probe, parameter or entry of the context (nearest names listed), or rows that do not suit the probe
 */
export async function probe(
  model: Model,
  name: string | Probe,
  params: Readonly<Record<string, unknown>> = {},
  context: ProbeContext = {},
): Promise<HeadScores> {
  checkContext("probe", context);
  const registered = typeof name === "string" ? probes : registry<Probe>("probe", [name]);
  const definition = registered.get(typeof name === "string" ? name : name.name);
  const parsed = registered.parse(definition.name, params);
  return measured(model, definition, parsed, context);
}

/** Runs a probe by itself, and notes what that costs. */
async function measured(
  model: Model,
  definition: Probe,
  params: Record<string, unknown>,
  context: ProbeContext,
): Promise<HeadScores> {
  const [began, before] = [performance.now(), runsBegun()];
  const result = await definition.run(model, params, context);
  const cost = { seconds: (performance.now() - began) / 1000, forwards: runsBegun() - before };
  return document(model, definition, { params, ...result, findings: { ...result.findings, cost } }, context);
}

/**
 * Scores of a head that attends evenly, by a probe with its default parameters, as training measures it.
 * @param config of the model
 * @returns by metric, without those of which the probe does not tell; of a probe that fits its parameters as it runs, none
 * @throws HeadscopeError for an unknown probe
 */
export function evenScores(name: string, config: ModelConfig): Record<string, number> {
  const { meanings = {}, sums } = probes.get(name);
  const params = sums && parametersOn(sums, probes.parse(name, {}), config);
  if (params === undefined) return {};
  return Object.fromEntries(
    Object.entries(meanings).flatMap(([metric, { chance }]) => {
      const even = chance?.(params);
      return even === undefined ? [] : [[metric, even]];
    }),
  );
}

/** A probe's parameters as it uses them on a model; undefined where they do not fit it, so that it has no scores either. */
function parametersOn(
  { adapt }: PatternSums<z.ZodObject>,
  params: Record<string, unknown>,
  config: ModelConfig,
): Record<string, unknown> | undefined {
  try {
    return adapt?.({ config }, params, {}) ?? params;
  } catch (error) {
    if (error instanceof HeadscopeError) return undefined;
    throw error;
  }
}

const CONTEXT: Rules<ProbeContext> = {
  tokens: { wants: "rows of token ids", fits: Array.isArray },
  cases: { wants: "a list of cases", fits: Array.isArray },
  seed: whole(0),
  progress: FUNCTION,
  signal: ANYTHING,
};

/** @throws HeadscopeError (usage) for what no probe knows */
function checkContext(what: string, context: ProbeContext): void {
  checkOptions(what, context, CONTEXT);
}

/** A probe to be run with others, and its parameters. */
export interface ProbeRequest {
  name: string;
  params?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Scores every head of a model by several probes; those that read the same rows share one forward pass.
 * With `context.tokens` all probes on patterns read those rows; without, induction, duplicate-token and previous-token share theirs.
 * @param requests names, or names with parameters
 * @returns documents in the order of the requests
 */
export async function probeMany(
  model: Model,
  requests: readonly (string | ProbeRequest)[],
  context: ProbeContext = {},
): Promise<HeadScores[]> {
  checkContext("probeMany", context);
  const selected = requests.map((request) => {
    const { name, params = {} } = typeof request === "string" ? { name: request } : request;
    return { definition: probes.get(name), params: probes.parse(name, params) };
  });
  const shared = selected.filter(({ definition }) => definition.sums !== undefined);
  const results = await runTogether(
    model,
    shared.map(({ definition, params }) => ({ sums: definition.sums as PatternSums<z.ZodObject>, params })),
    context,
  );
  const documents: HeadScores[] = [];
  for (const one of selected) {
    const at = shared.indexOf(one);
    documents.push(
      at >= 0
        ? document(model, one.definition, { params: one.params, ...results[at]! }, context)
        : await measured(model, one.definition, one.params, context),
    );
  }
  return documents;
}

function document(
  model: Model,
  { name, meanings = {} }: Probe,
  result: ProbeResult,
  { seed = 0 }: ProbeContext,
): HeadScores {
  const { params = {}, tokens, metrics, summary, perCase, findings, notes } = result;
  for (const [metric, table] of Object.entries(metrics)) checkTrials(table, `probe ${name}: metric ${metric}`);
  return createScores({
    model: headModel(model),
    probe: name,
    params,
    tokens,
    seed,
    metrics: Object.fromEntries(
      Object.entries(metrics).map(([metric, values]) => {
        const { range, chance } = Object.hasOwn(meanings, metric) ? meanings[metric]! : {};
        const even = chance?.(params);
        return [
          metric,
          {
            ...values,
            ...(range && { range: [...range] as [number, number] }),
            ...(even !== undefined && { chance: even }),
          },
        ];
      }),
    ),
    summary,
    perCase,
    findings,
    notes,
  });
}
