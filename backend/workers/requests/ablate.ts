import { type Ablation, ablate } from "../../circuits/ablation/ablate.ts";
import type { CleanRun } from "../../circuits/ablation/ablation-runs.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type AblateResult, rowsAblation } from "../../common/api/interventions.ts";
import { formatHead, parseHead } from "../../common/heads/head.ts";
import { headModel } from "../../common/heads/model.ts";
import { randomReference } from "../../hooks/reference.ts";
import type { Model } from "../../models/model.ts";
import { handler } from "../handler.ts";
import type { Pacing } from "../prompt-runs.ts";
import { pacingOf, session } from "../session.ts";

/** Takes heads out, and as many others of the same layers as a control. */
export const request = handler({
  payload: rowsAblation(UNBOUNDED),
  async run(request, context): Promise<AblateResult> {
    const began = performance.now();
    const model = await session.models.open(request.model, context.signal);
    const shape = headModel(model);
    const { rows, heads, method = "zero", byPosition, controls, seed, topTokens } = request;
    const { contrast, over, position, metric } = request;
    const pacing = pacingOf(context);
    const alone = rows.length === 1 ? rows[0] : undefined;
    const random = request.reference ? undefined : randomReference(model, rows, method, seed);
    const result = await ablate(model, {
      tokens: rows,
      heads: heads.map((head) => parseHead(head, shape)),
      method,
      reference: request.reference ?? random,
      clean: alone && (await cleanRun(model, alone, pacing)),
      ...{ byPosition, controls, seed, topTokens, contrast, over, position, metric },
      ...pacing,
    });
    return { ...written(result), reference: random && "random", ms: performance.now() - began };
  },
});

/** One prompt's clean run, where it is stored or can be. */
async function cleanRun(model: Model, ids: readonly number[], pacing: Pacing): Promise<CleanRun | undefined> {
  if (ids.length < 2) return undefined;
  const { streams, nll } = await session.runs.of(model, ids, pacing);
  return streams && { streams, nll: [nll] };
}

/** Heads as users write them. */
function written(result: Ablation): Omit<AblateResult, "ms" | "reference"> {
  const { model, heads, method, clean, ablated, control, noControl, difference, metrics, part, nextToken } = result;
  const draws = control?.draws.map((draw) => ({ ...draw, heads: draw.heads.map(formatHead) }));
  return {
    ...{ model, heads: heads.map(formatHead), method, clean, ablated },
    control: control && { ...control, draws: draws! },
    ...{ noControl, difference, metrics, part, nextToken },
  };
}
