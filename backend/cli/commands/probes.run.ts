import { probes } from "../../../probes/index.ts";
import type { Context } from "../context.ts";
import { definitionDocument, definitionText } from "../text/definition.ts";
import { table } from "../text/format.ts";

/** Prints the probes. */
export async function listProbes(context: Context): Promise<void> {
  await context.print(
    probes.list().map((probe) => definitionDocument(probes, probe.name)),
    () =>
      table(
        ["probe", "what it finds"],
        probes.list().map(({ name, title }) => [name, title]),
      ),
  );
}

/** Prints a probe with its parameters. */
export async function showProbe(context: Context, _: object, name: string): Promise<void> {
  const document = definitionDocument(probes, name);
  await context.print(document, () => definitionText(document));
}
