import { z } from "zod";
import type { Bounds, Input } from "./fields.ts";

/** Schema of a case of a function vector: prompts as texts or ids. */
export function vectorCaseInput({ textCharacters, promptTokens }: Pick<Bounds, "textCharacters" | "promptTokens">) {
  const prompt = z.union([z.string().min(1).max(textCharacters), z.array(z.int().min(0)).min(1).max(promptTokens)]);
  return z.strictObject({
    clean: prompt.describe("demonstrations with their right labels, then a query"),
    shuffled: prompt.describe("the same with the labels shuffled"),
    zero: prompt.describe("the query without demonstrations"),
    answer: z.union([z.string().min(1).max(256), z.int().min(0)]).describe("id, or text of one token"),
  });
}
/** A case of a function vector. */
export type VectorCaseInput = Input<typeof vectorCaseInput>;

/** Schema of an example of an in-context vector: two texts of which the second is as texts are wanted. */
export function demonstrationInput({ textCharacters, promptTokens }: Pick<Bounds, "textCharacters" | "promptTokens">) {
  const prompt = z.union([z.string().min(1).max(textCharacters), z.array(z.int().min(0)).min(1).max(promptTokens)]);
  return z.strictObject({
    source: prompt.describe("a text as it is"),
    target: prompt.describe("the same as it is wanted"),
  });
}

/** Schema of a prompt with a label, as a text or ids. */
export function labelledPromptInput({ textCharacters, promptTokens }: Pick<Bounds, "textCharacters" | "promptTokens">) {
  return z.strictObject({
    text: z.string().min(1).max(textCharacters).optional(),
    tokens: z.array(z.int().min(0)).min(1).max(promptTokens).optional(),
    label: z.union([z.string().min(1).max(256), z.number(), z.boolean()]).describe("class that the prompt belongs to"),
  });
}
