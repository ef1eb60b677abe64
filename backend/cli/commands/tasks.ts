import type { Command } from "commander";
import { runs } from "../context.ts";
import { integer, paramOption, seedOption } from "../options.ts";
import { definitionDocument, definitionText, flagsTable } from "../text/definition.ts";

interface SampleOptions {
  count: number;
  seed: number;
  param?: string[];
}

/** `headscope tasks list`, `headscope tasks show NAME` and `headscope tasks sample NAME`. */
export function register(program: Command): void {
  const command = program.command("tasks").description("list the synthetic tasks, show one, or draw sequences of it");
  runs(command.command("list").description("list the tasks"), async (context) => {
    const [{ tasks }, { table }] = await Promise.all([
      import("../../../synthetic-tasks/index.ts"),
      import("../text/format.ts"),
    ]);
    await context.print(
      tasks.list().map((task) => definitionDocument(tasks, task.name)),
      () =>
        table(
          [{ head: "task" }, { head: "what it asks" }, { head: "measured on" }],
          tasks.list().map(({ name, title, evaluations }) => [name, title, Object.keys(evaluations).join(", ")]),
        ),
    );
  });
  runs(command.command("show <name>").description("show a task and its parameters"), async (context, _, name) => {
    const [{ tasks }, { trainFlags }] = await Promise.all([
      import("../../../synthetic-tasks/index.ts"),
      import("../../training/spec.ts"),
    ]);
    const document = definitionDocument(tasks, name!);
    const own = new Set(document.flags.map((flag) => flag.name));
    const training = trainFlags(tasks.get(name!)).filter((flag) => !own.has(flag.name));
    const evaluations = Object.entries(tasks.get(name!).evaluations).map(([key, { title }]) => ({ name: key, title }));
    await context.print({ ...document, training, evaluations }, () =>
      [
        definitionText(document),
        "",
        "Measured on:",
        ...evaluations.map((evaluation) => `  ${evaluation.name}: ${evaluation.title}`),
        "",
        `Model and training (headscope train ${name}):`,
        flagsTable(training),
      ].join("\n"),
    );
  });
  const sample = command
    .command("sample <name>")
    .description("draw sequences of a task, as a model sees them")
    .option("--count <n>", "how many sequences", integer("--count", 1), 3);
  seedOption(paramOption(sample, "a parameter of the task; may be repeated"));
  runs<SampleOptions>(sample, async (context, { count, seed, param }, name) => {
    const [{ tasks, sampleRows }, { readPairs }] = await Promise.all([
      import("../../../synthetic-tasks/index.ts"),
      import("../../common/definitions/definition.ts"),
    ]);
    const params = tasks.parse(name!, readPairs(param ?? []));
    const { samples, texts } = sampleRows(tasks.get(name!), params, { count, seed });
    await context.print({ task: name!, params, seed, samples }, () => texts.join("\n\n"));
  });
}
