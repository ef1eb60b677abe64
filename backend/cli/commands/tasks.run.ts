import { sampleRows, tasks } from "../../../synthetic-tasks/index.ts";
import { readPairs } from "../../common/definitions/definition.ts";
import { trainFlags } from "../../training/spec.ts";
import type { Context } from "../context.ts";
import { definitionDocument, definitionText, flagsTable } from "../text/definition.ts";
import { table } from "../text/format.ts";

interface SampleOptions {
  count: number;
  seed: number;
  param?: string[];
}

/** Prints the synthetic tasks. */
export async function listTasks(context: Context): Promise<void> {
  await context.print(
    tasks.list().map((task) => definitionDocument(tasks, task.name)),
    () =>
      table(
        ["task", "what it asks", "measured on"],
        tasks.list().map(({ name, title, evaluations }) => [name, title, Object.keys(evaluations).join(", ")]),
      ),
  );
}

/** Prints a task with its parameters and evaluations. */
export async function showTask(context: Context, _: object, name: string): Promise<void> {
  const document = definitionDocument(tasks, name);
  const taskFlags = new Set(document.flags.map((flag) => flag.name));
  const training = trainFlags(tasks.get(name)).filter((flag) => !taskFlags.has(flag.name));
  const evaluations = Object.entries(tasks.get(name).evaluations).map(([key, { title }]) => ({ name: key, title }));
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
}

/** Prints sequences of a task as a model sees them. */
export async function sampleTask(context: Context, { count, seed, param }: SampleOptions, name: string): Promise<void> {
  const params = tasks.parse(name, readPairs(param ?? []));
  const { samples, texts } = sampleRows(tasks.get(name), params, { count, seed });
  await context.print({ task: name, params, seed, samples }, () => texts.join("\n\n"));
}
