import { z } from "zod";
import { type Bounds, type Data, type Input, modelRef, topTokens } from "./fields.ts";
import { pairInput } from "./patching.ts";

/** Fields of a request about prompts with two answers each. */
function questionFields(bounds: Bounds) {
  const question = pairInput(bounds).partial({ corrupt: true });
  return {
    model: modelRef,
    prompts: z.array(question).min(1).max(bounds.rows).describe("pairs, of which the clean side is run"),
    bos: z.boolean().optional().describe("before texts; default: as the tokenizer does"),
    position: z.int().optional().describe("position that is read, negative ones from the end; default -1"),
  };
}

const notes = z.array(z.string()).optional().describe("such as a prompt whose answer the model does not prefer");

/** Schema of a direct logit attribution. */
export function attributeRequest(bounds: Bounds) {
  return z.strictObject({
    ...questionFields(bounds),
    neurons: z
      .array(z.int().min(0))
      .max(bounds.entries)
      .optional()
      .describe("layers whose MLP is taken apart into its neurons"),
  });
}
export type AttributeRequest = Input<typeof attributeRequest>;

/** Schema of what the parts of the stream add to logit(answer) - logit(wrong): means over the prompts. */
export const attributeResponse = z.object({
  logitDiff: z.number(),
  sum: z.number().describe("of all parts; equals logitDiff up to rounding"),
  parts: z.object({
    embed: z.number(),
    posEmbed: z.number(),
    heads: z.array(z.array(z.number())).describe("[layers][heads]"),
    mlps: z.array(z.number()).describe("[layers]"),
    attnBias: z.array(z.number()).describe("[layers]"),
    finalNormBias: z.number(),
    unembedBias: z.number(),
    softCap: z.number(),
  }),
  accumulated: z
    .array(z.object({ at: z.string(), value: z.number() }))
    .describe("the difference that the stream holds at each hook point, by the scale of the final norm"),
  neurons: z.array(z.object({ layer: z.int(), values: z.array(z.number()), bias: z.number() })).optional(),
  notes,
  ms: z.number(),
});
export type AttributeResponse = Data<typeof attributeResponse>;

/** Schema of a logit lens. */
export function lensRequest(bounds: Bounds) {
  return z.strictObject({
    ...questionFields(bounds),
    topTokens: topTokens.describe("likeliest tokens of every row; default 5"),
  });
}
export type LensRequest = Input<typeof lensRequest>;

/** Schema of the stream read out before every layer and behind the last: means over the prompts. */
export const lensResponse = z.object({
  rows: z.array(
    z.object({
      at: z.string().describe("hook name"),
      answer: z.number().describe("logit"),
      wrong: z.number().describe("logit"),
      rank: z.number().describe("tokens with a larger logit than the answer"),
      top: z.array(z.object({ id: z.int(), text: z.string(), logit: z.number() })).describe("of the mean logits"),
    }),
  ),
  notes,
  ms: z.number(),
});
export type LensResponse = Data<typeof lensResponse>;
