import { z } from "zod";
import { type Ablation, ablate } from "../../circuits/ablate.ts";
import type { CleanRun } from "../../circuits/ablation-runs.ts";
import { ABLATION_METHODS } from "../../common/words.ts";
import { headModel } from "../../heads/model.ts";
import { formatHead, parseHead } from "../../heads/refs.ts";
import { randomReference } from "../../hooks/reference.ts";
import type { Model } from "../../models/model.ts";
import type { AblateResult } from "../../server/api.ts";
import { handler } from "../handler.ts";
import type { Way } from "../prompt-runs.ts";
import { tokenRows } from "../prompts.ts";
import { session, wayOf } from "../session.ts";

/** Takes heads out, and as many others of the same layers as a control. */
export const request = handler({
  payload: z.object({
    model: z.string(),
    rows: tokenRows,
    heads: z.array(z.string()),
    method: z.enum(ABLATION_METHODS).optional(),
    byPosition: z.boolean().optional(),
    reference: tokenRows.optional(),
    controls: z.number().optional(),
    seed: z.number().optional(),
    topTokens: z.number().optional(),
    contrast: z.object({ position: z.number(), wrong: z.number() }).optional(),
  }),
  async run(request, context): Promise<AblateResult> {
    const began = performance.now();
    const model = await session.models.open(request.model, context.signal);
    const shape = headModel(model);
    const { rows, heads, method = "zero", byPosition, controls, seed, topTokens, contrast } = request;
    const way = wayOf(context);
    const alone = rows.length === 1 ? rows[0] : undefined;
    const random = request.reference ? undefined : randomReference(model, rows, method, seed);
    const reference = request.reference ?? random;
    const result = await ablate(model, {
      tokens: rows,
      heads: heads.map((head) => parseHead(head, shape)),
      method,
      ...(byPosition ? { byPosition } : {}),
      ...(reference ? { reference } : {}),
      ...(controls === undefined ? {} : { controls }),
      ...(seed === undefined ? {} : { seed }),
      ...(topTokens === undefined ? {} : { topTokens }),
      ...(contrast === undefined ? {} : { contrast }),
      ...(alone ? await cleanRun(model, alone, way) : {}),
      ...way,
    });
    return { ...written(result), ...(random ? { reference: "random" as const } : {}), ms: performance.now() - began };
  },
});

/** One prompt's clean run, where it is stored or can be. */
async function cleanRun(model: Model, ids: readonly number[], way: Way): Promise<{ clean?: CleanRun }> {
  if (ids.length < 2) return {};
  const { streams, nll } = await session.runs.of(model, ids, way);
  return streams ? { clean: { streams, nll: [nll] } } : {};
}

/** Heads as users write them. */
function written({
  model,
  heads,
  method,
  clean,
  ablated,
  control,
  noControl,
  difference,
  nextToken,
}: Ablation): Omit<AblateResult, "ms" | "reference"> {
  return {
    model,
    heads: heads.map(formatHead),
    method,
    clean,
    ablated,
    ...(control && {
      control: { ...control, draws: control.draws.map((draw) => ({ ...draw, heads: draw.heads.map(formatHead) })) },
    }),
    ...(noControl === undefined ? {} : { noControl }),
    ...(difference === undefined ? {} : { difference }),
    nextToken,
  };
}
