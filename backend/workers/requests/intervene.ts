import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { refuseEnd } from "../../circuits/intervene.ts";
import { meanLoss, residLossesInTurns } from "../../circuits/loss.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type InterveneResult, interveneRequest } from "../../common/api/interventions.ts";
import { parseInterventions } from "../../hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "../../hooks/interventions.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Affine } from "../../models/forward/types.ts";
import type { Model } from "../../models/model.ts";
import type { Turn } from "../../runtime/turn.ts";
import { handler } from "../handler.ts";
import { candidates, type StreamOrigin, tokenIds } from "../prompts.ts";
import { pacingOf, session } from "../session.ts";

/** A prompt's losses and next tokens with interventions and without; runs from the first layer that is changed. */
export const request = handler({
  payload: interveneRequest(UNBOUNDED, z.unknown()).omit({ prompt: true }).extend({ model: z.string(), ids: tokenIds }),
  async run({ model: ref, ids, interventions, topTokens = 10 }, context): Promise<InterveneResult> {
    const began = performance.now();
    const model = await session.models.open(ref, context.signal);
    const pacing = pacingOf(context);
    const compiled = compileInterventions(model, parseInterventions(interventions), {
      rows: 1,
      positions: ids.length,
      tokens: [ids],
    });
    try {
      refuseEnd(compiled);
      const clean = await session.runs.withStream(model, ids, { layer: model.config.n_layers, ...pacing }, (stream) =>
        outcome(model, { ids }, stream, { count: topTokens, turn: pacing.turn }),
      );
      const first = firstLayer(compiled, model.config.n_layers);
      const options = { interventions: compiled, onLayer: () => pacing.signal.throwIfAborted() };
      const run = async (
        input: { tokens: [readonly number[]] } | { resid: Tensor; startLayer: number },
      ): Promise<Tensor> => (await forwardInTurns(model, { ...input, logitsAt: "none" }, options, pacing.turn)).resid;
      const resid = await (first === undefined
        ? run({ tokens: [ids] })
        : session.runs.withStream(model, ids, { layer: first, ...pacing }, (stream) =>
            run({ resid: stream, startLayer: first }),
          ));
      try {
        return {
          clean,
          changed: await outcome(model, { ids, interventions: compiled }, resid, {
            count: topTokens,
            turn: pacing.turn,
          }),
          ms: performance.now() - began,
        };
      } finally {
        resid.dispose();
      }
    } finally {
      disposeInterventions(compiled);
    }
  },
});

/** First layer that is changed; undefined where the embedding is. */
function firstLayer(compiled: ReadonlyMap<string, Affine>, n_layers: number): number | undefined {
  const layers = [...compiled.keys()].map((hook) => /^blocks\.(\d+)\./.exec(hook)?.[1]);
  return layers.includes(undefined) ? undefined : Math.min(n_layers, ...layers.map(Number));
}

/** @param stream after the last layer [1, positions, d_model] */
async function outcome(
  model: Model,
  run: StreamOrigin,
  stream: Tensor,
  { count, turn }: { count: number; turn: Turn },
): Promise<InterveneResult["clean"]> {
  const { ids, ...changes } = run;
  const nll = ids.length < 2 ? [] : (await residLossesInTurns(model, stream, [ids], { turn, ...changes }))[0]!;
  return { loss: nll.length === 0 ? null : meanLoss([nll]), nll, next: candidates(model, stream, count, run) };
}
