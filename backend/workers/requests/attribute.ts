import { attribute } from "../../circuits/attribution/direct.ts";
import { type AttributeResponse, attributeRequest } from "../../common/api/attribution.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";

/** Direct logit attribution of prompts. */
export const request = handler({
  payload: attributeRequest(UNBOUNDED),
  async run({ model: ref, prompts, bos, position, neurons }, context): Promise<AttributeResponse> {
    const began = performance.now();
    const model = await session.models.open(ref, context.signal);
    const result = await attribute(model, {
      prompts,
      ...(bos === undefined ? {} : { prependBos: bos }),
      ...(position === undefined ? {} : { position }),
      ...(neurons ? { neurons } : {}),
      ...pacingOf(context),
    });
    return { ...result, ms: performance.now() - began };
  },
});
