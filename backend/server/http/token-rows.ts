import type { PairInput } from "../../common/api/patching.ts";
import type { Limits } from "./limits.ts";
import { limited } from "./problems.ts";

/** Refuses more tokens than one request may have, whatever they are for. @throws Refusal 422 */
export function checkTokens(rows: readonly (readonly number[])[], { rowTokens }: Limits): void {
  const tokens = rows.reduce((sum, row) => sum + row.length, 0);
  if (tokens > rowTokens)
    throw limited(422, `${tokens} tokens are more than ${rowTokens}`, "give fewer or shorter rows");
}

/** The prompts of a pair, or of one without its corrupt side. */
export type PromptSides = Pick<PairInput, "clean"> & { readonly corrupt?: PairInput["corrupt"] | undefined };

/** The sides of pairs that are token ids. */
export function tokenSides(pairs: readonly PromptSides[]): (readonly number[])[] {
  return pairs.flatMap(({ clean, corrupt }) => [clean, corrupt].filter((side) => typeof side === "object"));
}
