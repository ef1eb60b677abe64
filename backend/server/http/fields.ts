import { z } from "zod";
import { atMostCharacters } from "../../common/definitions/bounded.ts";
import type { Limits } from "./limits.ts";

/** A model by name; a path must lie in the data folder or a given root. */
export const modelRef = z
  .string()
  .min(1)
  .max(512)
  .describe("catalogue name, hf:ORG/NAME[@REVISION], run:ID, run:ID@STEP, or a path with a slash in it");

/** The name of a definition, a run, a metric or a prompt. */
export const shortName = z.string().min(1).max(200);

/** A document's or file's path below the data folder. */
export const documentId = z.string().min(1).max(1_024);

/** A whole number in an address, from 1: digits, nothing else that JavaScript would read as a number. */
export const ordinal = z
  .string()
  .regex(/^[1-9]\d{0,14}$/, "must be a whole number")
  .transform(Number);

/** As `ordinal`, from 0. */
export const index = z
  .string()
  .regex(/^\d{1,9}$/, "must be a whole number")
  .transform(Number);

/** Parameters by name, checked by the definition that they are for; jobs keep them. */
export const parameters = atMostCharacters(z.record(z.string().max(64), z.unknown()), 65_536).describe(
  "parameters by name; see /api/definitions",
);

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
