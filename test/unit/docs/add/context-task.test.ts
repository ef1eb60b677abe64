import { expect, it } from "vitest";
import { type ContextTask, contextTasks, drawCase } from "../../../../synthetic-tasks/contexts/index.ts";
import { loadAsFile, readPage, typescriptOf } from "../../../helpers/docs.ts";
import { wordTokenizer } from "../../../helpers/texts/word-tokenizer.ts";

const PAGE = "docs/context-tasks.md";

it("the task of docs/context-tasks.md fills its room with what its questions ask about", async () => {
  const { sightings } = await loadAsFile<{ sightings: ContextTask }>(typescriptOf(PAGE));
  const params = sightings.parameters.parse({ questions: 2 });
  const { context, questions } = drawCase(wordTokenizer(), sightings, params, { tokens: 60, number: 0 });
  for (const { lead, answers } of questions) expect(context.split("\n")).toContain(`${lead} ${answers[0]}`);
  expect(questions[0]!.chance).toBe(1 / context.split("\n").length);
});

it("docs/context-tasks.md has every task", () => {
  for (const name of contextTasks.names()) expect(readPage(PAGE)).toContain(`| \`${name}\` `);
});
