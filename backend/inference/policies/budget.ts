import type { Policy } from "./kinds/policy.ts";

/** Digits of a ratio that is 1 less a share, so that 0.9 is not 0.09999999999999998. */
const DIGITS = 12;

/**
 * Parameters under which a policy follows a budget: what it says itself, else its `ratio` for a share and its `budget` for tokens.
 * @param given parameters beside it; where they have a ratio or a budget, these are followed
 * @param budget below 1 the share that stays of what full attention holds, from 2 on tokens of each KV head
 * @returns undefined where it follows none, and runs as it is
 */
export function atBudget(
  policy: Policy,
  given: Readonly<Record<string, unknown>>,
  budget: number,
): Readonly<Record<string, unknown>> | undefined {
  if (policy.at) return policy.at(budget, given);
  if (given["ratio"] !== undefined || given["budget"] !== undefined) return undefined;
  const params = shareOrTokens(budget);
  return Object.keys(params).every((name) => name in policy.parameters.shape) ? params : undefined;
}

/** A budget as the parameter of most policies: below 1 the `ratio` that goes, from 2 on the `budget` in tokens. */
export function shareOrTokens(budget: number): { ratio: number } | { budget: number } {
  return budget < 1 ? { ratio: Number((1 - budget).toFixed(DIGITS)) } : { budget };
}
