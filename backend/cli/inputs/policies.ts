import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { PolicyRequest } from "../../inference/policies/choice.ts";

/**
 * The policies of a command line, each with its parameters.
 * @param names of --policy @param param pairs of --param: NAME.k=v, or k=v where there is one policy
 * @throws HeadscopeError `usage` for a parameter of no policy
 */
export function policiesOf(names: readonly string[] = [], param: readonly string[] = []): PolicyRequest[] {
  if (names.length === 0) return [];
  const params = new Map(names.map((name): [string, Record<string, string>] => [name, {}]));
  for (const [key, value] of Object.entries(readPairs(param))) {
    const owner = names.find((name) => key.startsWith(`${name}.`)) ?? (names.length === 1 ? names[0]! : undefined);
    if (owner === undefined)
      throw new HeadscopeError("usage", `parameter ${key} does not say whose it is`, {
        remedy: `write ${names.map((name) => `${name}.${key}`).join(" or ")}`,
        field: key,
      });
    params.get(owner)![key.startsWith(`${owner}.`) ? key.slice(owner.length + 1) : key] = value;
  }
  return names.map((name) => ({ name, params: params.get(name)! }));
}
