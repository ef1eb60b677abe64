import type { Command } from "commander";
import type { PolicyRequest } from "../../inference/policies/choice.ts";
import { ownedParameters } from "./owned-parameters.ts";

/** Options of a command that runs prompts under policies. */
export interface PolicyOptions {
  policy?: string[];
  param?: string[];
}

/** Adds --policy. */
export function policyOption(command: Command): Command {
  return command.option(
    "--policy <names>",
    "ways to hold or read less, with commas between: one for each thing that they choose (`headscope policies list`)",
    (text: string) => text.split(",").map((name) => name.trim()),
  );
}

/** The policies of a command line, each with its parameters. @throws HeadscopeError `usage` for a parameter of no policy */
export function policiesOf({ policy: names = [], param = [] }: PolicyOptions): PolicyRequest[] {
  if (names.length === 0) return [];
  const params = ownedParameters(param, names, names.length === 1 ? names[0] : undefined);
  return names.map((name) => ({ name, params: params.get(name)! }));
}
