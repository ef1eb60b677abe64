import { HeadscopeError } from "../../../../common/errors.ts";
import { counted } from "../../../../common/text.ts";
import type { Prefix } from "../../../prefix.ts";
import type { TokenChoice } from "../../choice.ts";

/**
 * Insists that a policy can choose among the tokens of a prefix and those behind it, with the queries of the latter.
 * @param tokens of the whole prompt
 * @throws HeadscopeError (usage) where it looks at more queries than there are, or KV heads of the prefix hold different numbers of tokens
 */
export function checkBehind(choice: TokenChoice, prefix: Prefix, tokens: number): void {
  const { policy, params } = choice;
  const { name } = policy;
  const behind = tokens - prefix.tokens.length;
  const refuse = (what: string, remedy: string) =>
    new HeadscopeError("usage", what, { remedy, field: ["policies", "prefix"] });
  const known = prefix.known?.knows(choice) === true;
  if (behind === 0 && !known)
    throw refuse(
      `${name} chooses as the end of a prompt is read, and there is nothing behind the prefix`,
      "read the prefix under the policy, and go on from it without; or give tokens behind it",
    );
  const { of = 0 } = policy.queries?.(params) ?? {};
  if (of === "all" && !known)
    throw refuse(
      `${name} looks at the queries of all tokens, and those of the prefix are gone`,
      "read the prefix under the policy too, with when=decode where it has that",
    );
  if (of !== "all" && of > behind && !known)
    throw refuse(
      `${name} looks at the queries of the last ${of} tokens, and there ${behind === 1 ? "is" : "are"} ${counted(behind, "token")} behind the prefix`,
      `let it look at ${behind} or fewer, or give a longer question`,
    );
  const { cache } = prefix;
  cache.windows.forEach((heads, layer) => {
    const counts = heads.flatMap((window, head) => (window ? [] : [cache.positions(layer, 0, head).length]));
    if (new Set(counts).size <= 1) return;
    throw refuse(
      `${name} compares KV heads that hold as many tokens, and in layer ${layer} of the prefix they hold ${counts.join(", ")}`,
      "go on from it without a policy for tokens",
    );
  });
}
