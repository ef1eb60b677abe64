import { ablateEach } from "../../circuits/ablation/each.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type AblateEachResponse, ablateEachRequest } from "../../common/api/patching.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";

/** Takes each head, MLP, layer or source token out of the clean prompts of pairs in turn. */
export const request = handler({
  payload: ablateEachRequest(UNBOUNDED),
  async run({ model: ref, bos, ...options }, context): Promise<AblateEachResponse> {
    const began = performance.now();
    const model = await session.models.open(ref, context.signal);
    const result = await ablateEach(model, {
      ...options,
      ...(bos === undefined ? {} : { prependBos: bos }),
      ...pacingOf(context),
    });
    return { ...result, ms: performance.now() - began };
  },
});
