import { contextTasks, type DrawnCase } from "../../../synthetic-tasks/contexts/index.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { counted } from "../../common/text.ts";
import type { Scoring } from "../../common/words.ts";
import { type DefinitionSheet, definitionText } from "./definition.ts";
import { bold, dim, table } from "./format.ts";

const SCORED_BY: Readonly<Record<Scoring, string>> = {
  answers: "the share of the answers that its text holds",
  text: "the share of a text's tokens that are the likeliest",
};

/** All tasks for people, in two tables: those that models are trained on, and those over long contexts. */
export function taskLists(): string {
  return [
    table(
      ["task", "what it asks", "measured on"],
      tasks.list().map(({ name, title, evaluations }) => [name, title, Object.keys(evaluations).join(", ")]),
    ),
    "",
    "Over long contexts (headscope evaluate):",
    table(
      ["task", "what it asks", "scored by"],
      contextTasks.list().map(({ name, title, scoring }) => [name, title, SCORED_BY[scoring]]),
    ),
  ].join("\n");
}

/** A task over a long context for people. */
export function contextTaskText(document: DefinitionSheet & { readonly scoring: Scoring }): string {
  return `${definitionText(document)}\n\nScored by ${SCORED_BY[document.scoring]}.`;
}

/** A case for people: the context, then its questions with the beginning of the answer and the answer. */
export function caseText({ context, questions, tokens }: DrawnCase, number: number): string {
  const asked = questions.map(({ question, lead = "", joint = " ", answers, needles }) => {
    const depths = needles.slice(0, 3).map(({ depth }) => depth.toFixed(2));
    const place = needles.length === 0 ? "" : dim(` at ${depths.join(", ")}${needles.length > 3 ? " …" : ""}`);
    return `${bold(question.trim() || "(goes on)")}\n  ${lead}${joint}${answers.join(", ")}${place}`.replace(
      / {3,}/g,
      "  ",
    );
  });
  return [dim(`case ${number}, ${counted(tokens, "token")} with the first question`), context, ...asked].join("\n\n");
}
