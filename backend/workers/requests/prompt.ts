import { meanLoss } from "../../circuits/loss.ts";
import type { Prompt } from "../../common/api/prompts.ts";
import { handler } from "../handler.ts";
import { candidates, promptId, promptInput, promptInputIds, tokenTexts } from "../prompts.ts";
import { pacingOf, prepare, session } from "../session.ts";

const NEXT = 10;

/** Runs a prompt and keeps its residual streams for what is asked of it later. */
export const request = handler({
  payload: promptInput,
  async run(input, context): Promise<Prompt> {
    const began = performance.now();
    const model = await session.models.open(input.model, context.signal);
    const ids = promptInputIds(model, input);
    const pacing = pacingOf(context);
    const { nll } = await session.runs.of(model, ids, pacing);
    const next = await session.runs.withStream(model, ids, { layer: model.config.n_layers, ...pacing }, (stream) =>
      candidates(model, stream, NEXT, { ids }),
    );
    context.later((stop) => prepare(model, ids, stop));
    return {
      id: promptId(model.digest, ids),
      model: model.ref,
      digest: model.digest,
      ids,
      tokens: tokenTexts(model, ids),
      nll,
      loss: nll.length === 0 ? null : meanLoss([nll]),
      next,
      ms: performance.now() - began,
    };
  },
});
