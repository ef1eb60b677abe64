import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { runTemplate } from "../../../../backend/models/tokenizers/chat/template.ts";

/** By test/oracles/chat_templates.py: what transformers renders. */
interface Oracle {
  readonly special: Readonly<Record<string, string>>;
  readonly chats: readonly object[][];
  readonly rows: readonly { readonly template: string; readonly texts: readonly (string | { error: string })[] }[];
}

const oracle: Oracle = JSON.parse(
  readFileSync(new URL("../../../oracles/chat_templates.json", import.meta.url), "utf8"),
);
/** Errors of Jinja that are the messages' fault. */
const REFUSALS = ["TemplateError", "UndefinedError"];

describe("chat templates", () => {
  test.each(oracle.rows.map((row) => [row.template.slice(0, 90), row] as const))(
    "%s gives the texts of transformers",
    (_, { template, texts }) => {
      const cases = oracle.chats.flatMap((messages) => [false, true].map((prompt) => ({ messages, prompt })));
      for (const [at, { messages, prompt }] of cases.entries()) {
        const result = runTemplate(template, { ...oracle.special, messages, add_generation_prompt: prompt });
        const expected = texts[at]!;
        if (typeof expected === "string") expect(result).toEqual({ text: expected });
        else expect(REFUSALS).toContain(expected.error);
        if (typeof expected !== "string") expect(Object.keys(result), expected.error).toEqual(["refusal"]);
      }
    },
  );

  test("a template that uses what is not known is at fault, and not the messages", () => {
    const messages = [{ role: "user", content: "hi" }];
    for (const template of [
      "{{ messages[0].content.casefold() }}",
      "{{ messages | slice(2) }}",
      "{{ mystery(1) }}",
      "{{ '%q' % 1 }}",
      "{{ messages[0] is fancy }}",
      "{% if %}",
      "{% unknown %}",
    ])
      expect(Object.keys(runTemplate(template, { messages })), template).toEqual(["unknown"]);
  });
});
