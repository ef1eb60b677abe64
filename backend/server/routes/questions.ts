import { attributeRequest, attributeResponse, lensRequest, lensResponse } from "../../common/api/attribution.ts";
import {
  ablateEachRequest,
  ablateEachResponse,
  patchPlacesRequest,
  patchPlacesResponse,
} from "../../common/api/patching.ts";
import { answerLong } from "../http/long-answer.ts";
import { route } from "../http/route.ts";
import { promptWork } from "../interactive/prompt-work.ts";

/** Operations on prompts with two answers each, beside patching. */
export const questionRoutes = [
  route({
    method: "post",
    path: "/attribute",
    summary: "Direct logit attribution: what every part of the stream adds to logit(answer) - logit(wrong)",
    body: attributeRequest,
    answer: { description: "AttributeResponse", schema: attributeResponse },
    async handle(call, context) {
      const { signal, caller } = call;
      const { payload, effort } = await promptWork(call, context, (efforts, payload) => efforts.attribution(payload));
      return context.interactive.ask("attribute", payload, { signal, caller, effort, long: true });
    },
  }),
  route({
    method: "post",
    path: "/lens",
    summary: "The logit lens: the stream read out before every layer and behind the last",
    body: lensRequest,
    answer: { description: "LensResponse", schema: lensResponse },
    async handle(call, context) {
      const { signal, caller } = call;
      const { payload, effort } = await promptWork(call, context, (efforts, payload) => efforts.lens(payload));
      return context.interactive.ask("lens", payload, { signal, caller, effort, long: true });
    },
  }),
  route({
    method: "post",
    path: "/patch-places",
    summary: "Activation patching of several places in one run",
    body: patchPlacesRequest,
    answer: { description: "PatchPlacesResponse", schema: patchPlacesResponse },
    async handle(call, context) {
      const { signal, caller } = call;
      const { payload, effort } = await promptWork(call, context, (efforts, payload) => efforts.places(payload));
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
      const work = await promptWork(call, context, (efforts, payload) => efforts.ablationOfEach(payload));
      return answerLong(call, context, { kind: "ablate-each", ...work });
    },
  }),
];
