import { z } from "zod";
import { CACHE_KINDS, PREFILLS } from "../words.ts";
import { headMaskSchema } from "./documents.ts";
import { type Bounds, type Data, type Input, modelRef } from "./fields.ts";
import { policyRequests } from "./generation.ts";

/** Most lengths of one request: points enough for a curve. */
export const FOOTPRINT_LENGTHS = 64;

/** Schema of prompts whose keys and values are wanted, in bytes, without a run. */
export function footprintRequest({ newTokens }: Bounds) {
  return z.strictObject({
    model: modelRef,
    policies: policyRequests.optional(),
    mask: headMaskSchema.optional(),
    prefill: z.enum(PREFILLS).optional().describe("of the mask; default masked"),
    tokens: z.array(z.int().min(1)).min(1).max(FOOTPRINT_LENGTHS).describe("lengths of prompts"),
    newTokens: z.int().min(1).max(newTokens).optional().describe("behind each; the last leaves nothing. Default 1"),
    cache: z.enum(CACHE_KINDS).optional().describe("default f32"),
  });
}
export type FootprintRequest = Input<typeof footprintRequest>;

/** Schema of bytes of keys and values by length of the prompt. */
export const footprintAnswer = z.object({
  lengths: z.array(
    z.object({
      tokens: z.int(),
      bytes: z.number().optional().describe("allocated at the end; absent where `refused` says why"),
      bytesFull: z.number().describe("with everything held"),
      read: z.number().optional().describe("bytes that a new token reads, mean over those behind the prompt"),
      refused: z.string().optional().describe("why the policies take no prompt of this length"),
    }),
  ),
  undecided: z
    .array(z.string())
    .describe("policies that decide as they run how much is held; theirs counts as full attention's"),
});
export type FootprintAnswer = Data<typeof footprintAnswer>;
export type FootprintLength = FootprintAnswer["lengths"][number];
