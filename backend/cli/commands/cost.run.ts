import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { CacheKind, WeightType } from "../../common/words.ts";
import { predictCosts } from "../../inference/cost/costs.ts";
import { deviceOf } from "../../inference/cost/devices.ts";
import type { PolicyRequest } from "../../inference/policies/choice.ts";
import type { Context } from "../context.ts";
import { policiesOf } from "../inputs/policies.ts";
import { costsText } from "../text/cost.ts";

interface CostCommandOptions {
  model: string;
  tokens: number[];
  newTokens?: number;
  policy?: string[][];
  param?: string[];
  device: string[];
  weights?: WeightType;
  cache?: CacheKind;
}

/** Prints what requests cost. */
export async function predictCost(context: Context, options: CostCommandOptions): Promise<void> {
  const { model, tokens, newTokens, policy, param, device: devices, weights, cache } = options;
  for (const name of devices) deviceOf(name);
  const policies = combinationsOf(policy, param);
  const { signal } = context;
  const costs = await predictCosts(model, { tokens, newTokens, policies, devices, weights, cache, signal });
  await context.print(costs, () => costsText(costs));
}

/** Combinations of policies, to each the parameters of its own. */
function combinationsOf(
  combinations: readonly (readonly string[])[] = [],
  param: readonly string[] = [],
): PolicyRequest[][] {
  const names = [...new Set(combinations.flat())];
  if (names.length === 0 && param.length > 0)
    throw new HeadscopeError("usage", `parameter ${Object.keys(readPairs(param))[0]} has no policy`, {
      remedy: "give --policy, or leave it out",
      field: "param",
    });
  const requests = new Map(policiesOf(names, param).map((request) => [request.name, request]));
  return combinations.map((combination) => combination.map((name) => requests.get(name)!));
}
