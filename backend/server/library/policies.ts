import { join } from "node:path";
import type { Data } from "../../common/api/fields.ts";
import type { policyRequests } from "../../common/api/generation.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { policies as registered } from "../../inference/policies/index.ts";
import type { ServerContext } from "../context.ts";

/** Policies as requests ask for them. */
type Requests = Data<typeof policyRequests>;

/**
 * Policies of a request as a worker takes them: ids of documents become their paths.
 * @throws HeadscopeError (usage) for an unknown policy or parameter, and files that requests can't name; Refusal 404 for a document that is not there
 */
export async function policyFiles(
  policies: Requests | undefined,
  { folder, library }: Pick<ServerContext, "folder" | "library">,
): Promise<Requests | undefined> {
  const own = async (name: string, params: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> => {
    const paths: Record<string, unknown> = { ...registered.parse(name, params) };
    for (const { name: parameter, file } of registered.flags(name)) {
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
  };
  if (!policies) return undefined;
  return Promise.all(policies.map(async ({ name, params = {} }) => ({ name, params: await own(name, params) })));
}
