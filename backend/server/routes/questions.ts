import { attributeRequest, attributeResponse, lensRequest, lensResponse } from "../../common/api/attribution.ts";
import {
  ablateEachRequest,
  ablateEachResponse,
  patchPlacesRequest,
  patchPlacesResponse,
} from "../../common/api/patching.ts";
import { answerLong } from "../http/long-answer.ts";
import { route } from "../http/route.ts";
import { checkTokens, tokenSides } from "../http/token-rows.ts";
import { Efforts } from "../interactive/efforts.ts";

/** Operations on prompts with two answers each, beside patching. */
export const questionRoutes = [
  route({
    method: "post",
    path: "/attribute",
    summary: "Direct logit attribution: what every part of the stream adds to logit(answer) - logit(wrong)",
    body: attributeRequest,
    answer: { description: "AttributeResponse", schema: attributeResponse },
    async handle({ body, signal, caller }, context) {
      checkTokens(tokenSides(body.prompts), context.limits);
      const payload = { ...body, model: await context.models.allowed(body.model) };
      const effort = await new Efforts(context, signal).attribution(payload);
      return context.interactive.ask("attribute", payload, { signal, caller, effort, long: true });
    },
  }),
  route({
    method: "post",
    path: "/lens",
    summary: "The logit lens: the stream read out before every layer and behind the last",
    body: lensRequest,
    answer: { description: "LensResponse", schema: lensResponse },
    async handle({ body, signal, caller }, context) {
      checkTokens(tokenSides(body.prompts), context.limits);
      const payload = { ...body, model: await context.models.allowed(body.model) };
      const effort = await new Efforts(context, signal).lens(payload);
      return context.interactive.ask("lens", payload, { signal, caller, effort, long: true });
    },
  }),
  route({
    method: "post",
    path: "/patch-places",
    summary: "Activation patching of several places in one run",
    body: patchPlacesRequest,
    answer: { description: "PatchPlacesResponse", schema: patchPlacesResponse },
    async handle({ body, signal, caller }, context) {
      checkTokens(tokenSides(body.pairs), context.limits);
      const payload = { ...body, model: await context.models.allowed(body.model) };
      const effort = await new Efforts(context, signal).places(payload);
      return context.interactive.ask("patch-places", payload, { signal, caller, effort, long: true });
    },
  }),
  route({
    method: "post",
    path: "/ablate-each",
    summary:
      "Pairs' clean prompts without each head, MLP, layer or source token in turn. Streams where text/event-stream is accepted",
    body: ablateEachRequest,
    answer: {
      description: "AblateEachResponse, or events progress, done, error",
      schema: ablateEachResponse,
      events: true,
    },
    async handle(call, context) {
      const { pairs, reference = [] } = call.body;
      checkTokens([...tokenSides(pairs), ...reference], context.limits);
      const payload = { ...call.body, model: await context.models.allowed(call.body.model) };
      const effort = await new Efforts(context, call.signal).ablationOfEach(payload);
      return answerLong(call, context, { kind: "ablate-each", payload, effort });
    },
  }),
];
