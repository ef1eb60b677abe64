import type { Tensor } from "@tensorflow/tfjs";
import { refuseEnd } from "../../hooks/intervene.ts";
import { compileInterventions, disposeInterventions, parseInterventions } from "../../hooks/interventions.ts";
import { meanLoss, residLosses } from "../../hooks/loss.ts";
import { forward } from "../../models/forward.ts";
import type { Model } from "../../models/model.ts";
import type { Affine } from "../../models/stage.ts";
import type { InterveneRequest, InterveneResult } from "../../server/api.ts";
import { nextTokens, type StreamRun } from "../prompts.ts";
import { session } from "../session.ts";
import type { Handler } from "./index.ts";

type IntervenePayload = Omit<InterveneRequest, "prompt"> & { readonly model: string; readonly ids: readonly number[] };

/** A prompt's losses and next tokens with interventions and without; runs from the first layer that is changed. */
export const handle: Handler = async (payload, { signal }): Promise<InterveneResult> => {
  const began = performance.now();
  const { model: ref, ids, topTokens = 10, ...request } = payload as IntervenePayload;
  const model = await session.models.open(ref, signal);
  const interventions = parseInterventions(request.interventions);
  const compiled = compileInterventions(model, interventions, { rows: 1, positions: ids.length, tokens: [ids] });
  try {
    refuseEnd(compiled);
    const clean = session.runs.withStream(model, ids, model.config.n_layers, signal, (stream) =>
      outcome(model, { ids }, stream, topTokens),
    );
    const first = firstLayer(compiled, model.config.n_layers);
    const run = (input: { tokens: [readonly number[]] } | { resid: Tensor; startLayer: number }): Tensor =>
      forward(
        model,
        { ...input, logitsAt: "none" },
        { interventions: compiled, onLayer: () => signal.throwIfAborted() },
      ).resid;
    const resid =
      first === undefined
        ? run({ tokens: [ids] })
        : session.runs.withStream(model, ids, first, signal, (stream) => run({ resid: stream, startLayer: first }));
    try {
      return {
        clean,
        changed: outcome(model, { ids, interventions: compiled }, resid, topTokens),
        ms: performance.now() - began,
      };
    } finally {
      resid.dispose();
    }
  } finally {
    disposeInterventions(compiled);
  }
};

/** First layer that is changed; undefined where the embedding is. */
function firstLayer(compiled: ReadonlyMap<string, Affine>, n_layers: number): number | undefined {
  const layers = [...compiled.keys()].map((hook) => /^blocks\.(\d+)\./.exec(hook)?.[1]);
  return layers.includes(undefined) ? undefined : Math.min(n_layers, ...layers.map(Number));
}

/** @param stream after the last layer [1, positions, d_model] */
function outcome(model: Model, run: StreamRun, stream: Tensor, count: number): InterveneResult["clean"] {
  const { ids, ...changes } = run;
  const nll = ids.length < 2 ? [] : residLosses(model, stream, [ids], changes)[0]!;
  return { loss: nll.length === 0 ? null : meanLoss([nll]), nll, next: nextTokens(model, stream, count, run) };
}
