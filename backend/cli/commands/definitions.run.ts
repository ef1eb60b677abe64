import { experiments } from "../../../experiments/index.ts";
import { probes } from "../../../probes/index.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import type { Definition, Registry } from "../../common/definitions/definition.ts";
import { unknownName } from "../../common/errors.ts";
import { exporters, importers } from "../../exports/index.ts";
import { policies } from "../../inference/policies/index.ts";
import type { Context } from "../context.ts";
import { definitionDocument, definitionText } from "../text/definition.ts";

/** Prints everything that has a name, with the JSON Schemas of its parameters. */
export async function printDefinitions(context: Context, _: object, kind: string): Promise<void> {
  const registries = { probes, tasks, policies, experiments, exports: exporters, imports: importers };
  const kinds = Object.keys(registries) as (keyof typeof registries)[];
  const listed = kind === undefined ? kinds : kinds.filter((name) => name === kind || name === `${kind}s`);
  if (listed.length === 0) throw unknownName("kind of definition", kind, kinds);
  const document = Object.fromEntries(
    listed.map((name) => {
      const registry: Registry<Definition> = registries[name];
      return [name, Object.fromEntries(registry.names().map((each) => [each, definitionDocument(registry, each)]))];
    }),
  );
  await context.print(document, () =>
    Object.values(document)
      .flatMap((definitions) => Object.values(definitions).map(definitionText))
      .join("\n\n\n"),
  );
}
