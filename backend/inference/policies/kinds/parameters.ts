import { z } from "zod";
import { HeadscopeError } from "../../../common/errors.ts";
import { RATIO } from "../../../common/words.ts";
import { inUnit } from "./units.ts";

/** Moments from which on tokens go: once at the end of the prompt, or there and after every new token too. */
export const MOMENTS = ["prefill", "decode"] as const;
/** One of `MOMENTS`. */
export type Moment = (typeof MOMENTS)[number];

/** Parameters of every policy that chooses tokens: how many stay. */
export const budgetParameters = {
  ratio: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe(`share of the prompt's tokens that goes, ${RATIO} where no budget is given`),
  budget: inUnit("tokens", z.int().min(1).optional().describe("tokens that each KV head keeps, instead of a ratio")),
};

/** Parameters of a policy that keeps as many tokens in each KV head. */
export const evenParameters = {
  ...budgetParameters,
  rerotate: z
    .boolean()
    .default(false)
    .describe("turn the keys that stay to the positions 0, 1, 2, …, and let new tokens count on from there"),
};

/** The parameter of a policy that can also go on choosing as it decodes. */
export const momentParameter = {
  when: z
    .enum(MOMENTS)
    .default("prefill")
    .describe("prefill: tokens go once, at the end of the prompt; decode: and one after every new token"),
};

/** Parameters of every policy that chooses what is read: how much of it, and from which layer on. */
export const readParameters = {
  ratio: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe(`share of the keys held that a new token does not read, ${RATIO} where no budget is given`),
  budget: inUnit(
    "tokens",
    z.int().min(1).optional().describe("keys that a new token reads in each KV head, instead of a ratio"),
  ),
  dense: inUnit("layers", z.int().min(0).default(0).describe("first layers in which everything is read")),
};

/** The number of last tokens that a policy for the form leaves as they are. */
export const recentParameter = {
  recent: inUnit(
    "tokens",
    z
      .int()
      .min(0)
      .default(128)
      .describe(
        "last tokens that stay as they are, at least: pages of 128 tokens are put into codes once they are whole",
      ),
  ),
};

/** The numbers that share a scale in a policy for the form. */
export const groupParameter = {
  group: z
    .literal([16, 32, 64, 128])
    .default(32)
    .describe("numbers that share a scale: of the keys tokens of a channel, of the values channels of a token"),
};

/** The number of first tokens that always stay. */
export const sinksParameter = {
  sinks: inUnit("tokens", z.int().min(0).default(4).describe("first tokens that always stay")),
};

/** The part that the joint itself reads of the parameters of a policy that chooses tokens. */
export interface Budget {
  readonly ratio?: number | undefined;
  readonly budget?: number | undefined;
  readonly when?: Moment | undefined;
  readonly rerotate?: boolean | undefined;
}

/** Tokens that stay of a prompt, before rounding. */
export function share({ ratio = RATIO, budget }: Budget, tokens: number): number {
  return budget ?? tokens * (1 - ratio);
}

/** Tokens that each KV head keeps: of a prompt's number the share truncated, at least 1; all where nothing is to go. */
export function kept(budget: Budget, tokens: number): number {
  return budget.ratio === 0 ? Number.POSITIVE_INFINITY : Math.max(1, Math.trunc(share(budget, tokens)));
}

/** Insists on one of two parameters. @throws HeadscopeError (usage) where both are given */
export function refuseBoth(
  policy: string,
  params: Readonly<Record<string, unknown>>,
  one: string,
  other: string,
): void {
  if (params[one] === undefined || params[other] === undefined) return;
  throw new HeadscopeError("usage", `${policy} has both a ${one}, ${params[one]}, and a ${other}, ${params[other]}`, {
    remedy: "give one of them",
    field: [one, other],
  });
}

/** Rounds to the nearest whole number, halves to the even one, as Python does. */
export function halfToEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
