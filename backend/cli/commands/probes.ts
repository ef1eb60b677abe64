import type { Command } from "commander";
import { runs } from "../context.ts";
import { definitionDocument, definitionText } from "../text/definition.ts";

/** `headscope probes list` and `headscope probes show NAME`. */
export function register(program: Command): void {
  const probes = program.command("probes").description("list the probes, or show one with its parameters");
  runs(probes.command("list").description("list the probes"), async (context) => {
    const [{ probes }, { table }] = await Promise.all([
      import("../../../probes/index.ts"),
      import("../text/format.ts"),
    ]);
    await context.print(
      probes.list().map((probe) => definitionDocument(probes, probe.name)),
      () =>
        table(
          [{ head: "probe" }, { head: "what it finds" }],
          probes.list().map(({ name, title }) => [name, title]),
        ),
    );
  });
  runs(probes.command("show <name>").description("show a probe and its parameters"), async (context, _, name) => {
    const { probes } = await import("../../../probes/index.ts");
    const document = definitionDocument(probes, name!);
    await context.print(document, () => definitionText(document));
  });
}
