import { z } from "zod";
import { headMaskSchema } from "../../heads/mask.ts";
import type { GenerateRequest } from "../api.ts";
import { Efforts } from "../efforts.ts";
import { headList, modelRef, promptFields, seed } from "../fields.ts";
import { answerLong } from "../long-answer.ts";
import { route } from "../route.ts";

export const generationRoutes = [
  route({
    method: "post",
    path: "/generate",
    summary: "Continues a prompt, also with a mask or without some heads. Streams where text/event-stream is accepted",
    body: (limits) => {
      const { text, tokens } = promptFields(limits);
      const common = {
        model: modelRef,
        chat: z.boolean().optional().describe("puts the text into the model's chat template"),
        maxTokens: z.int().min(1).max(limits.newTokens).optional(),
        temperature: z.number().min(0).max(10).optional(),
        seed: seed.optional(),
        mask: headMaskSchema.optional(),
        prefill: z.enum(["masked", "dense"]).optional(),
        ablate: headList(limits).optional().describe("query heads, zeroed at every position"),
      };
      return z.union([z.strictObject({ ...common, ...text }), z.strictObject({ ...common, ...tokens })]);
    },
    answer: { description: "GenerateResult, or events token, progress, done, error" },
    async handle(call, context) {
      const model = await context.models.allowed(call.body.model);
      const payload = { ...call.body, model } as GenerateRequest;
      const effort = await new Efforts(context, call.signal).generation(payload);
      return answerLong(call, context, { kind: "generate", payload, effort });
    },
  }),
];
