import { z } from "zod";
import { PREFILLS } from "../words.ts";
import { headMaskSchema } from "./documents.ts";
import { type Bounds, type Data, headList, type Input, modelRef, promptFields, seedSchema } from "./fields.ts";
import type { interventionForm } from "./interventions.ts";

/** Schema of a prompt to continue, also with a mask or without some heads. @param intervention the kinds that there are */
export function generateRequest<I extends z.ZodType>(bounds: Bounds, intervention: I) {
  const { text, tokens } = promptFields(bounds);
  const common = {
    model: modelRef,
    chat: z.boolean().optional().describe("puts the text into the model's chat template"),
    maxTokens: z.int().min(1).max(bounds.newTokens).optional(),
    temperature: z.number().min(0).max(10).optional(),
    seed: seedSchema.optional(),
    mask: headMaskSchema.optional(),
    prefill: z.enum(PREFILLS).optional(),
    stop: z
      .array(z.union([z.string().min(1).max(1000), z.int().min(0)]))
      .max(16)
      .optional()
      .describe("token ids and texts that end it, beside those that the model's own files name"),
    ablate: headList(bounds).optional().describe("query heads, zeroed at every position"),
    interventions: z
      .array(intervention)
      .max(bounds.entries)
      .optional()
      .describe("positions are those of the sequence: the prompt, then the new tokens"),
  };
  return z.union([z.strictObject({ ...common, ...text }), z.strictObject({ ...common, ...tokens })]);
}
export type GenerateRequest = Input<typeof generateRequest<typeof interventionForm>>;

/** Schema of why a continuation ended: at a token, at a text, or because it had as many tokens as were asked for. */
export const stopped = z.discriminatedUnion("by", [
  z.object({ by: z.literal("token"), id: z.int() }),
  z.object({ by: z.literal("text"), text: z.string() }),
  z.object({ by: z.literal("limit"), tokens: z.int() }),
]);
export type Stopped = Data<typeof stopped>;

/** Schema of a continuation, and what it took. */
export const generateResult = z.object({
  ids: z.array(z.int()),
  tokens: z.array(z.string()),
  text: z.string(),
  stopped: stopped.describe("why it ended; what it stopped at is not part of the result"),
  promptTokens: z.int(),
  cache: z.object({ bytes: z.number(), bytesFull: z.number() }),
  prefillMs: z.number(),
  decodeMsPerToken: z.number(),
});
export type GenerateResult = Data<typeof generateResult>;
