import { policies } from "../../inference/policies/index.ts";
import type { Context } from "../context.ts";
import { definitionDocument, definitionText } from "../text/definition.ts";
import { table } from "../text/format.ts";

/** Prints the policies. */
export async function listPolicies(context: Context): Promise<void> {
  await context.print(
    policies.list().map(({ name, chooses }) => ({ ...definitionDocument(policies, name), chooses })),
    () =>
      table(
        ["policy", "chooses", "title"],
        policies.list().map(({ name, chooses, title }) => [name, chooses, title]),
      ),
  );
}

/** Prints a policy with its parameters. */
export async function showPolicy(context: Context, _: object, name: string): Promise<void> {
  const document = definitionDocument(policies, name);
  await context.print({ ...document, chooses: policies.get(name).chooses }, () => definitionText(document));
}
