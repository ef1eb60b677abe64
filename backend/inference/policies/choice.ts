import { registry } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { HeadMask } from "../../common/heads/mask.ts";
import { checkOptions, type Rules } from "../../common/options.ts";
import { counted } from "../../common/text.ts";
import { CHOOSES, RATIO } from "../../common/words.ts";
import { policies } from "./index.ts";
import type { BlockPolicy } from "./kinds/blocks.ts";
import type { FormPolicy } from "./kinds/form.ts";
import type { HeadChoice } from "./kinds/heads.ts";
import { type InputPolicy, type PruningPolicy, prunes } from "./kinds/inputs.ts";
import { type Budget, kept, refuseBoth } from "./kinds/parameters.ts";
import type { Chosen, Policy } from "./kinds/policy.ts";
import type { ReadPolicy } from "./kinds/reads.ts";
import type { TokenPolicy } from "./kinds/tokens.ts";

/** A policy to run under, and its parameters. */
export interface PolicyRequest {
  /** Of the policy, or a definition of your own. */
  readonly name: string | Policy;
  readonly params?: Readonly<Record<string, unknown>> | undefined;
}

/** A policy and its parameters as they are used. */
export interface UsedPolicy {
  readonly name: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/** A policy that chooses tokens, and its parameters. */
export interface TokenChoice extends Chosen<TokenPolicy> {
  readonly params: Record<string, unknown> & Budget;
}

/** Policies that are run together, at most one for each thing; they act in the order of `CHOOSES`. */
export interface PolicyChoice {
  readonly heads?: HeadChoice;
  readonly blocks?: Chosen<BlockPolicy>;
  readonly inputs?: Chosen<InputPolicy>;
  /** Chosen in the heads that keep everything. */
  readonly tokens?: TokenChoice;
  readonly reads?: Chosen<ReadPolicy>;
  readonly form?: Chosen<FormPolicy>;
  /** Each with the parameters that it was given, and the defaults of those that have one. */
  readonly requests: readonly Chosen<Policy>[];
  readonly used: readonly UsedPolicy[];
}

const isRecord = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value);

const REQUEST: Rules<PolicyRequest> = {
  name: {
    wants: "a policy's name, or a definition",
    fits: (name) => typeof name === "string" || (isRecord(name) && CHOOSES.includes((name as Policy).chooses)),
  },
  params: { wants: "an object of its parameters", fits: isRecord },
};

/** Insists that policies are asked for as such. @throws HeadscopeError (usage) */
export function checkRequests(requests: readonly PolicyRequest[]): void {
  if (!Array.isArray(requests))
    throw new HeadscopeError("usage", `policies that act together are a list, not ${typeof requests}`, {
      remedy: "give a list such as [{ name, params }]",
      field: "policies",
    });
  for (const [i, request] of requests.entries()) checkOptions(`policy ${i} of the list`, request, REQUEST, ["name"]);
}

/**
 * Checks policies that are to be run together, and reads what they need.
 * @param requests in any order
 * @throws HeadscopeError (usage) for an unknown policy or parameter, two that choose the same, and a budget that can't be
 */
export async function choosePolicies(requests: readonly PolicyRequest[]): Promise<PolicyChoice> {
  checkRequests(requests);
  const parsed = requests.map(({ name, params = {} }) => {
    const known = typeof name === "string" ? policies : registry<Policy>("policy", [name]);
    const policy = known.get(typeof name === "string" ? name : name.name);
    if (params["when"] !== undefined) checkMoment(policy);
    return { policy, params: known.parse(policy.name, params) as Record<string, unknown> };
  });
  for (const what of CHOOSES) {
    const same = parsed.filter(({ policy }) => policy.chooses === what).map(({ policy }) => policy.name);
    if (same.length > 1)
      throw new HeadscopeError("usage", `${same.join(" and ")} can't go together: each chooses the ${what}`, {
        remedy: `give one policy for the ${what}`,
        field: "policies",
      });
  }
  const used: UsedPolicy[] = [];
  let choice: Omit<PolicyChoice, "used" | "requests"> = {};
  for (const { policy, params: given } of parsed) {
    const budgeted = policy.chooses === "inputs" || policy.chooses === "tokens" || policy.chooses === "reads";
    const params = budgeted ? completed(policy, given) : given;
    if (policy.chooses === "form") policy.check?.(params);
    if (policy.chooses === "inputs" && prunes(policy)) policy.check?.(params);
    const chosen =
      policy.chooses === "heads"
        ? await policy.choose(params)
        : { policy, params, prepared: await preparedOf(policy, params) };
    choice = { ...choice, [policy.chooses]: chosen };
    used.push({ name: policy.name, params });
  }
  const result = { ...choice, requests: parsed, used };
  checkTogether(result);
  return result;
}

/** @throws HeadscopeError (usage) for a moment of a policy that has one alone */
function checkMoment({ name, parameters }: Policy): void {
  if ("when" in parameters.shape) return;
  const others = policies.list().filter((policy) => "when" in policy.parameters.shape);
  throw new HeadscopeError("usage", `${name} can't be told when it acts`, {
    remedy: `leave when out, or choose among ${others.map((policy) => policy.name).join(", ")}`,
    field: "when",
  });
}

/** Reads what a policy needs before a model is loaded. */
async function preparedOf(policy: Policy, params: Record<string, unknown>): Promise<unknown> {
  return "prepare" in policy ? policy.prepare?.(params) : undefined;
}

/** @throws HeadscopeError (usage) for policies that don't work on one another's results */
function checkTogether({ heads, blocks, inputs, tokens, reads, form, used }: PolicyChoice): void {
  const refuse = (why: string, remedy: string, names = [tokens, reads].map((each) => each?.policy.name)) =>
    new HeadscopeError("usage", `${names.join(" and ")} can't go together: ${why}`, { remedy, field: "policies" });
  if (blocks && inputs)
    throw refuse("one lets the prompt read less, the other reads less of it", "leave one of them out", [
      blocks.policy.name,
      inputs.policy.name,
    ]);
  if (inputs && prunes(inputs.policy) && (heads || tokens || reads || form)) {
    const others = used.filter(({ name }) => name !== inputs.policy.name).map(({ name }) => name);
    throw refuse(
      `${inputs.policy.name} itself chooses what each layer holds and reads, for the prompt and for each new token`,
      "leave one of them out",
      [inputs.policy.name, ...others],
    );
  }
  if (blocks && tokens?.policy.inPrompt?.(tokens.params))
    throw refuse("each lets the prompt read less", "leave one of them out, or give prefill=dense", [
      blocks.policy.name,
      tokens.policy.name,
    ]);
  if (heads && tokens?.policy.whole) throw seesAll(tokens.policy.name);
  const other = tokens ?? reads;
  const still = other ?? (form?.policy.channels ? undefined : form);
  if (still && blocks?.policy.holds?.(blocks.params))
    throw refuse(
      `${still.policy.name} reckons with the keys that are held, of which ${blocks.policy.name} lets more go as tokens come`,
      `give free=false of ${blocks.policy.name}`,
      [blocks.policy.name, still.policy.name],
    );
  if (form?.policy.condense && other)
    throw refuse(
      `${form.policy.name} does not hold the prompt in rows, of which others could be chosen`,
      "leave one of them out",
      [other.policy.name, form.policy.name],
    );
  if (tokens?.params.rerotate && form?.policy.channels)
    throw refuse("the queries that are looked at stand at other positions than the keys then", "leave rerotate out", [
      tokens.policy.name,
      form.policy.name,
    ]);
  if (tokens?.params.when === "decode" && form && !form.policy.channels)
    throw refuse("tokens that share a scale can't go one by one", `leave out when=decode of ${tokens.policy.name}`, [
      tokens.policy.name,
      form.policy.name,
    ]);
  if (!tokens || !reads) return;
  const [first, second] = [tokens.policy.name, reads.policy.name];
  if (tokens.params.when === "decode")
    throw refuse(
      `${second} knows the keys that are held, of which ${first} lets one go at each step`,
      `leave out when=decode of ${first}`,
    );
  if (tokens.policy.part && reads.policy.inPrompt)
    throw refuse(
      `${second} knows the keys of the prompt that were read, of which ${first} lets some go part by part`,
      "leave one of them out",
    );
  if (tokens.policy.choose || tokens.policy.countsByHead)
    throw refuse(
      `${first} leaves more in some KV heads than in others, and ${second} chooses among as many in each`,
      "leave one of them out",
    );
}

/** The policy that leaves out tokens layer by layer, where there is one. */
export function pruningOf({ inputs }: Partial<PolicyChoice> = {}): Chosen<PruningPolicy> | undefined {
  const { policy, ...chosen } = inputs ?? {};
  return policy && prunes(policy) ? ({ policy, ...chosen } as Chosen<PruningPolicy>) : undefined;
}

/** Tells whether a policy acts on a prompt before its end, so that some of its tokens see less of it. @param tokens of the prompt */
export function actsWithin({ policy, params }: TokenChoice, tokens: number): boolean {
  return policy.inPrompt?.(params) === true || (policy.part?.(params) ?? tokens) < tokens;
}

/** The error for a policy that looks at all KV heads of a layer, of which some stream. */
export function seesAll(policy: string): HeadscopeError {
  return new HeadscopeError("usage", `${policy} looks at all KV heads of a layer together, and some of them stream`, {
    remedy: "leave the mask or the policy for heads out",
    field: "policies",
  });
}

/** @throws HeadscopeError (usage) for a ratio beside a budget, and a budget below what always stays */
function completed(
  policy: InputPolicy | TokenPolicy | ReadPolicy,
  given: Record<string, unknown>,
): TokenChoice["params"] {
  const params: TokenChoice["params"] = (policy.chooses === "tokens" && policy.complete?.(given)) || given;
  const { ratio, budget } = params;
  refuseBoth(policy.name, params, "ratio", "budget");
  const least = ("least" in policy ? policy.least?.(params) : undefined) ?? 1;
  if (budget !== undefined && budget < least)
    throw new HeadscopeError(
      "usage",
      `a budget of ${counted(budget, "token")} is below the ${least} that ${policy.name} ${policy.chooses === "tokens" ? "keeps" : "reads"} anyway`,
      {
        remedy: `give at least ${least}${lower(policy.chooses === "inputs" ? {} : policy, params, least)}`,
        field: "budget",
      },
    );
  const decides = "decides" in policy && policy.decides?.(params);
  return ratio === undefined && budget === undefined && !decides ? { ...params, ratio: RATIO } : params;
}

/** The parameters that say how much stays in any case, as a remedy's second half. */
function lower({ least }: Pick<TokenPolicy, "least">, params: TokenChoice["params"], now: number): string {
  const { ratio: _, budget: __, ...others } = params;
  const names = Object.entries(others).flatMap(([name, value]) => {
    const lowers = typeof value === "number" && value > 1 && (least?.({ ...params, [name]: 1 }) ?? now) < now;
    return lowers ? [name] : [];
  });
  return names.length > 0 ? `, or a lower ${names.join(" or ")}` : "";
}

/**
 * Insists that a prompt is long enough for what a policy keeps in any case.
 * @throws HeadscopeError (input)
 */
export function checkPrompt({ policy, params }: TokenChoice, tokens: number): void {
  const [count, least] = [kept(params, tokens), policy.least?.(params) ?? 1];
  if (count >= tokens || count >= least) return;
  throw new HeadscopeError(
    "input",
    `${policy.name} would keep ${count} of the prompt's ${tokens} tokens, below the ${least} that it keeps anyway`,
    {
      remedy: `let more tokens stay by ratio or budget${lower(policy, params, least)}, or give a longer prompt`,
      field: ["ratio", "budget"],
    },
  );
}

/** Insists that heads are chosen once. @throws HeadscopeError (usage) for a mask beside a policy that chooses heads */
export function refuseTwoMasks(mask: HeadMask | undefined, { heads }: PolicyChoice): void {
  if (mask === undefined || !heads) return;
  throw new HeadscopeError("usage", "a mask and a policy both choose the heads that keep everything", {
    remedy: "give the mask to the policy, as mask=FILE, or leave one of them out",
    field: ["mask", "policies"],
  });
}
