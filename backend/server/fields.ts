import { z } from "zod";
import type { Limits } from "./limits.ts";

/** A model by name; a path must lie in the data folder or a given root. */
export const modelRef = z
  .string()
  .min(1)
  .max(512)
  .describe("catalogue name, hf:ORG/NAME[@REVISION], run:ID, run:ID@STEP, or a path with a slash in it");

/** Parameters by name, checked by the definition that they are for. */
export const parameters = z
  .record(z.string().max(64), z.unknown())
  .describe("parameters by name; see /api/definitions");

/** A seed of random draws. */
export const seed = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);

/** Heads as users write them. */
export function headList({ entries }: Limits) {
  return z.array(z.string().regex(/^\d{1,4}\.\d{1,4}$/, "must be LAYER.HEAD")).max(entries);
}

/** Token rows. */
export function tokenRows({ rows, promptTokens }: Limits) {
  return z
    .array(z.array(z.int().min(0)).min(1).max(promptTokens))
    .min(1)
    .max(rows);
}

/** The fields of the two ways to give a prompt. */
export function promptFields({ textCharacters, promptTokens }: Limits) {
  return {
    text: {
      text: z.string().max(textCharacters),
      bos: z.boolean().optional().describe("default: as the tokenizer does"),
    },
    tokens: { tokens: z.array(z.int().min(0)).min(1).max(promptTokens) },
  };
}
