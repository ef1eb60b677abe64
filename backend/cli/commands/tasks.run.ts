import { contextTasks, drawCase } from "../../../synthetic-tasks/contexts/index.ts";
import { sampleRows, tasks } from "../../../synthetic-tasks/index.ts";
import { readPairs } from "../../common/definitions/definition.ts";
import { unknownName } from "../../common/errors.ts";
import { requireTokenizer } from "../../models/tokens.ts";
import { trainFlags } from "../../training/spec.ts";
import type { Context } from "../context.ts";
import { caseText, contextTaskText, taskLists } from "../text/context-tasks.ts";
import { definitionDocument, definitionText, flagsTable } from "../text/definition.ts";

interface SampleOptions {
  count: number;
  seed: number;
  model: string;
  length: number;
  param?: string[];
}

/** Tells a task over a long context from one that models are trained on. @throws HeadscopeError `usage` for a name that is neither */
function isContextTask(name: string): boolean {
  if (contextTasks.names().includes(name)) return true;
  if (tasks.names().includes(name)) return false;
  throw unknownName("task", name, [...tasks.names(), ...contextTasks.names()]);
}

/** Prints the synthetic tasks, and those over long contexts. */
export async function listTasks(context: Context): Promise<void> {
  await context.print(
    [
      ...tasks.list().map(({ name }) => definitionDocument(tasks, name)),
      ...contextTasks.list().map(({ name, scoring }) => ({ ...definitionDocument(contextTasks, name), scoring })),
    ],
    taskLists,
  );
}

/** Prints a task with its parameters, and what it is measured on. */
export async function showTask(context: Context, _: object, name: string): Promise<void> {
  if (isContextTask(name)) {
    const document = { ...definitionDocument(contextTasks, name), scoring: contextTasks.get(name).scoring };
    await context.print(document, () => contextTaskText(document));
    return;
  }
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
export async function sampleTask(context: Context, options: SampleOptions, name: string): Promise<void> {
  if (isContextTask(name)) return sampleCases(context, options, name);
  const { count, seed, param } = options;
  const params = tasks.parse(name, readPairs(param ?? []));
  const { samples, texts } = sampleRows(tasks.get(name), params, { count, seed });
  await context.print({ task: name, params, seed, samples }, () => texts.join("\n\n"));
}

/** Prints cases of a task over a long context. */
async function sampleCases(context: Context, options: SampleOptions, name: string): Promise<void> {
  const { count, seed, param, model: ref, length } = options;
  const task = contextTasks.get(name);
  const params = contextTasks.parse(name, readPairs(param ?? [])) as Record<string, unknown>;
  task.check?.(params);
  const { withModel } = await import("../model.ts"); // listing tasks needs no model
  await withModel(context, { model: ref }, async (model) => {
    const tokenizer = requireTokenizer(model, { remedy: "give a model with a tokenizer" });
    const cases = Array.from({ length: count }, (_, number) =>
      drawCase(tokenizer, task, params, { tokens: length, number, seed }),
    );
    await context.print({ task: name, params, seed, model: model.ref, length, samples: cases }, () =>
      cases.map(caseText).join("\n\n"),
    );
  });
}
