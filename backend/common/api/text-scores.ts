import { z } from "zod";
import { LONGEST_EXPRESSION } from "../texts/head-scores.ts";
import { type Bounds, type Data, type Input, shortName } from "./fields.ts";

/** Schema of the scores of every head on a prompt that was run. */
export function textScoresRequest({ entries }: Bounds) {
  return z.strictObject({
    prompt: shortName.describe("a prompt's id"),
    held: z.int().min(0).optional().describe("position of the held token"),
    pattern: z
      .union([
        z.strictObject({ expression: z.string().min(1).max(LONGEST_EXPRESSION) }),
        z.strictObject({
          pairs: z
            .array(z.array(z.int().min(0)).length(2))
            .min(1)
            .max(entries),
        }),
      ])
      .optional()
      .describe("a pattern of one's own, as the probe pattern takes it"),
    question: z
      .strictObject({
        position: z.int().min(1).describe("of the answer: the tokens before it foretell it"),
        answer: z.int().min(0).optional().describe("default the token that stands there"),
        wrong: z.int().min(0),
      })
      .optional()
      .describe("of the direct effect"),
  });
}
export type TextScoresRequest = Input<typeof textScoresRequest>;

/** Schema of what every head scores on a text. */
export const textScoresAnswer = z.object({
  scores: z.array(
    z.object({
      name: z.string(),
      values: z.array(z.array(z.number())).optional().describe("[layers][heads]; absent with `absent`"),
      chance: z.number().optional().describe("of shares of attention: the value of a head that attends evenly"),
      queries: z.int().optional().describe("of shares of attention: queries that have a key of the pattern"),
      logitDiff: z.number().optional().describe("of the direct effect: what all parts of the model add up to"),
      absent: z.string().optional().describe("why the text has no such score"),
    }),
  ),
  ms: z.number(),
});
export type TextScoresAnswer = Data<typeof textScoresAnswer>;
