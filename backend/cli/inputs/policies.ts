import type { PolicyRequest } from "../../inference/policies/choice.ts";
import { ownedParameters } from "./owned-parameters.ts";

/** Options of a command that runs prompts under policies. */
export interface PolicyOptions {
  policy?: string[];
  param?: string[];
}

/** The policies of a command line, each with its parameters. @throws HeadscopeError `usage` for a parameter of no policy */
export function policiesOf({ policy: names = [], param = [] }: PolicyOptions): PolicyRequest[] {
  if (names.length === 0) return [];
  const params = ownedParameters(param, names, names.length === 1 ? names[0] : undefined);
  return names.map((name) => ({ name, params: params.get(name)! }));
}
