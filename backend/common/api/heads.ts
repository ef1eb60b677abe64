import { z } from "zod";
import { headAxisSchema, headMaskSchema, headModelSchema } from "./documents.ts";
import { type Bounds, type Data, documentId, type Input, modelRef, shortName } from "./fields.ts";

/** Schema of a score document without its numbers; the id is the path below the data folder: "start/induction.json". */
export const scoresEntrySchema = z.object({
  id: z.string(),
  model: headModelSchema,
  probe: z.string(),
  metrics: z.array(z.object({ name: z.string(), axis: headAxisSchema })),
  created: z.string().optional(),
});
export type ScoresEntry = Data<typeof scoresEntrySchema>;

/** Schema of a mask without its tables. */
export const maskEntrySchema = z.object({
  id: z.string(),
  model: headModelSchema,
  full: z
    .tuple([z.int(), z.int()])
    .optional()
    .describe("KV heads that keep everything, of all; absent for a mask that only ablates"),
  ablated: z.int().describe("query heads that are ablated"),
  sink: z.int(),
  recent: z.int(),
  source: z.unknown(),
});
export type MaskEntry = Data<typeof maskEntrySchema>;

/** Schema of a request for a mask from scores, heads or a document; it is kept where it is given a name. */
export function maskRequest({ entries }: Bounds) {
  const heads = z.array(z.string().max(16)).max(entries);
  const common = {
    name: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "must be a plain file name")
      .optional()
      .describe("keeps it as masks/NAME.json"),
    sink: z.int().min(0).optional().describe("first tokens that a streaming head keeps, default 64"),
    recent: z.int().min(1).optional().describe("latest tokens that it keeps, default 256"),
  };
  return z.union([
    z.strictObject({
      ...common,
      scores: documentId.describe("id of a score document"),
      metric: shortName.optional(),
      top: z.int().min(0).optional(),
      quantile: z.number().min(0).max(1).optional(),
      threshold: z.number().optional(),
    }),
    z.strictObject({
      ...common,
      model: modelRef,
      kvHeads: heads.describe("KV heads that keep everything, LAYER.HEAD"),
    }),
    z.strictObject({ ...common, model: modelRef, ablate: heads.describe("query heads, LAYER.HEAD") }),
    z.strictObject({ ...common, mask: headMaskSchema.describe("a mask document") }),
  ]);
}
export type MaskRequest = Input<typeof maskRequest>;

/** Schema of what a request for a mask answers. */
export const maskAnswer = z.object({
  mask: headMaskSchema,
  id: z.string().optional().describe("where it is kept"),
});
