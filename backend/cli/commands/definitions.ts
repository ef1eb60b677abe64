import type { Command } from "commander";
import { unknownName } from "../../common/errors.ts";
import { runs } from "../context.ts";
import { definitionDocument, definitionText } from "../text/definition.ts";

/** `headscope definitions [kind]`: everything that has a name, with the JSON Schemas of its parameters. */
export function register(program: Command): void {
  const command = program
    .command("definitions [kind]")
    .description("print probes, tasks, experiments, exports and imports with the JSON Schemas of their parameters");
  runs(command, async (context, _, kind) => {
    const [{ probes }, { tasks }, { experiments }, { exporters, importers }] = await Promise.all([
      import("../../../probes/index.ts"),
      import("../../../synthetic-tasks/index.ts"),
      import("../../../experiments/index.ts"),
      import("../../exports/index.ts"),
    ]);
    const registries = { probes, tasks, experiments, exports: exporters, imports: importers };
    const kinds = Object.keys(registries) as (keyof typeof registries)[];
    const chosen = kind === undefined ? kinds : kinds.filter((name) => name === kind || name === `${kind}s`);
    if (chosen.length === 0) throw unknownName("kind of definition", kind!, kinds);
    const document = Object.fromEntries(
      chosen.map((name) => {
        const registry = registries[name] as unknown as typeof probes;
        return [name, Object.fromEntries(registry.names().map((each) => [each, definitionDocument(registry, each)]))];
      }),
    );
    await context.print(document, () =>
      Object.values(document)
        .flatMap((definitions) => Object.values(definitions).map(definitionText))
        .join("\n\n\n"),
    );
  });
}
