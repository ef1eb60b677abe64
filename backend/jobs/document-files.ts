import { join } from "node:path";
import type { Data } from "../common/api/fields.ts";
import type { policyRequests } from "../common/api/generation.ts";
import type { Definition, Registry } from "../common/definitions/definition.ts";
import { HeadscopeError } from "../common/errors.ts";
import { policies as registered } from "../inference/policies/index.ts";
import type { JobPremises } from "./kind.ts";

/** Policies as requests ask for them. */
type Requests = Data<typeof policyRequests>;
type Premises = Pick<JobPremises, "folder" | "library">;

/**
 * Parameters of a definition as a worker takes them: ids of documents become their paths.
 * @throws HeadscopeError (usage) for an unknown name or parameter, and files that requests can't name; Refusal 404 for a document that is not there
 */
export async function parametersWithFiles(
  registry: Registry<Definition>,
  { name, params = {} }: Requests[number],
  { folder, library }: Premises,
): Promise<Record<string, unknown>> {
  const paths: Record<string, unknown> = { ...registry.parse(name, params) };
  for (const { name: parameter, file } of registry.flags(name)) {
    const id = params[parameter];
    if (file === undefined || typeof id !== "string") continue;
    if (file === "mask") await library.readMask(id);
    else if (file === "scores") await library.readScores(id);
    else
      throw new HeadscopeError("usage", `parameter ${parameter} of ${name} names a file, which no request can`, {
        remedy: "run it from the command line",
        field: parameter,
      });
    paths[parameter] = join(folder, id);
  }
  return paths;
}

/** Policies of a request as a worker takes them. @throws as `parametersWithFiles` */
export async function policyFiles(policies: Requests | undefined, premises: Premises): Promise<Requests | undefined> {
  if (!policies) return undefined;
  return Promise.all(
    policies.map(async (each) => ({ name: each.name, params: await parametersWithFiles(registered, each, premises) })),
  );
}
