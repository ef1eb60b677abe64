import { z } from "zod";
import { headMaskSchema } from "../../common/api/documents.ts";
import { headList, modelRef, promptFields, seed } from "../../common/api/fields.ts";
import { interventionSchema } from "../../hooks/intervention-schema.ts";
import { PREFILLS } from "../../inference/generate.ts";
import type { GenerateRequest } from "../api.ts";
import { answerLong } from "../http/long-answer.ts";
import { route } from "../http/route.ts";
import { Efforts } from "../interactive/efforts.ts";

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
        prefill: z.enum(PREFILLS).optional(),
        stop: z
          .array(z.union([z.string().min(1).max(1000), z.int().min(0)]))
          .max(16)
          .optional()
          .describe("token ids and texts that end it, beside those that the model's own files name"),
        ablate: headList(limits).optional().describe("query heads, zeroed at every position"),
        interventions: z
          .array(interventionSchema)
          .max(limits.entries)
          .optional()
          .describe("positions are those of the sequence: the prompt, then the new tokens"),
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
