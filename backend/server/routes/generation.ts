import {
  generateBatchRequest,
  generateBatchResult,
  generateRequest,
  generateResult,
} from "../../common/api/generation.ts";
import { interventionSchema } from "../../hooks/intervention-schema.ts";
import { policyFiles } from "../../jobs/document-files.ts";
import { answerLong } from "../http/long-answer.ts";
import { route } from "../http/route.ts";
import { checkTokens } from "../http/token-rows.ts";
import { Efforts } from "../interactive/efforts.ts";

export const generationRoutes = [
  route({
    method: "post",
    path: "/generate",
    summary: "Continues a prompt, also with a mask or without some heads. Streams where text/event-stream is accepted",
    body: (limits) => generateRequest(limits, interventionSchema),
    answer: {
      description: "GenerateResult, or events token, progress, done, error",
      schema: generateResult,
      events: true,
    },
    async handle(call, context) {
      const model = await context.models.allowed(call.body.model);
      const policies = await policyFiles(call.body.policies, context);
      const payload = { ...call.body, model, policies };
      const effort = await new Efforts(context, call.signal).generation(payload);
      return answerLong(call, context, { kind: "generate", payload, effort });
    },
  }),
  route({
    method: "post",
    path: "/generate-batch",
    summary: "Continues several prompts together, as each alone. Streams where text/event-stream is accepted",
    body: (limits) => generateBatchRequest(limits, interventionSchema),
    answer: {
      description: "GenerateBatchResult, or events token (with its row), progress, done, error",
      schema: generateBatchResult,
      events: true,
    },
    async handle(call, context) {
      const { prompts, contextAware: common } = call.body;
      checkTokens(
        prompts.flatMap(({ contextAware = common, ...prompt }) => [
          ...("tokens" in prompt ? [prompt.tokens] : []),
          ...(contextAware && typeof contextAware.without !== "string" ? [contextAware.without] : []),
        ]),
        context.limits,
      );
      const model = await context.models.allowed(call.body.model);
      const policies = await policyFiles(call.body.policies, context);
      const payload = { ...call.body, model, policies };
      const effort = await new Efforts(context, call.signal).generations(payload);
      return answerLong(call, context, { kind: "generate-batch", payload, effort });
    },
  }),
];
