import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";

/**
 * The parameters of several things that are named on a command line, `NAME.k=v`; the bare `k=v` where one is named.
 * @param pairs as --param has them
 * @returns by name
 * @throws HeadscopeError `usage` for a parameter of none of them
 */
export function parametersByName(
  names: readonly string[],
  pairs: readonly string[],
): ReadonlyMap<string, Readonly<Record<string, string>>> {
  const params = new Map(names.map((name): [string, Record<string, string>] => [name, {}]));
  for (const [key, value] of Object.entries(readPairs(pairs))) {
    const owner = names.find((name) => key.startsWith(`${name}.`)) ?? (names.length === 1 ? names[0]! : undefined);
    if (owner === undefined)
      throw new HeadscopeError("usage", `parameter ${key} does not say whose it is`, {
        remedy: names.length === 0 ? "leave it out" : `write ${names.map((name) => `${name}.${key}`).join(" or ")}`,
        field: key,
      });
    params.get(owner)![key.startsWith(`${owner}.`) ? key.slice(owner.length + 1) : key] = value;
  }
  return params;
}
