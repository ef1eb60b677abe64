import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";

/**
 * Reads parameters that say whose they are, as NAME.k=v.
 * @param names of the definitions that there are @param only the one that a bare k=v is for
 * @returns by name, the definition's own
 * @throws HeadscopeError (usage) for one of nobody
 */
export function ownedParameters(
  pairs: readonly string[],
  names: readonly string[],
  only?: string,
): ReadonlyMap<string, Readonly<Record<string, string>>> {
  const params = new Map(names.map((name): [string, Record<string, string>] => [name, {}]));
  for (const [key, value] of Object.entries(readPairs(pairs))) {
    const owner = names.find((name) => key.startsWith(`${name}.`)) ?? only;
    if (owner === undefined)
      throw new HeadscopeError("usage", `parameter ${key} does not say whose it is`, {
        remedy: names.length === 0 ? "leave it out" : `write ${names.map((name) => `${name}.${key}`).join(" or ")}`,
        field: key,
      });
    params.get(owner)![key.startsWith(`${owner}.`) ? key.slice(owner.length + 1) : key] = value;
  }
  return params;
}
