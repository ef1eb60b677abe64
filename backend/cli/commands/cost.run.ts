import type { CacheKind, WeightType } from "../../common/words.ts";
import { predictCosts } from "../../inference/cost/costs.ts";
import { deviceOf } from "../../inference/cost/devices.ts";
import type { PolicyRequest } from "../../inference/policies/choice.ts";
import type { Context } from "../context.ts";
import { ownedParameters } from "../inputs/owned-parameters.ts";
import { costsText } from "../text/cost.ts";

interface CostCommandOptions {
  model: string;
  tokens: number[];
  newTokens?: number;
  policy?: string[];
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
function combinationsOf(policy: readonly string[] = [], param: readonly string[] = []): PolicyRequest[][] {
  const lists = policy.map((names) => names.split("+").map((name) => name.trim()));
  const own = [...new Set(lists.flat())];
  const params = ownedParameters(param, own, own.length === 1 ? own[0] : undefined);
  return lists.map((names) => names.map((name) => ({ name, params: params.get(name) })));
}
