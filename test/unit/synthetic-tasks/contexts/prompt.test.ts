import { describe, expect, it } from "vitest";
import {
  answerScore,
  type ContextCase,
  casePrompt,
  caseTokens,
  greedyScore,
  type QuestionIds,
  splitPrompt,
} from "../../../../synthetic-tasks/contexts/index.ts";
import { wordChat, wordTokenizer } from "../../../helpers/texts/word-tokenizer.ts";

const drawn: ContextCase = {
  context: "Read this.\n\nThe number is 4821. The city is Paris.",
  questions: [
    { question: "Which number?", lead: "The number is", answers: ["4821"], needles: [], chance: 0.1 },
    { question: "Which city?", answers: ["Paris"], needles: [], chance: 0.1 },
  ],
};

describe("the prompt of a case", () => {
  const tokenizer = wordTokenizer({ chats: true });
  const { context, questions, stop } = casePrompt(tokenizer, drawn, "answers");
  const user = (content: string) => ({ role: "user", content });
  const asked = (q: number) => `${drawn.context}\n\n${drawn.questions[q]!.question}`;

  const text = (ids: readonly number[]) => tokenizer.decode([...ids]);

  it("is the chat template's text of context and question, behind which the lead stands", () => {
    expect(text([...context, ...questions[0]!.request])).toBe(wordChat([user(asked(0))], true));
    expect(text([...context, ...questions[0]!.request, ...questions[0]!.lead])).toBe(
      `${wordChat([user(asked(0))], true)}The number is`,
    );
    expect(text([...context, ...questions[1]!.request])).toBe(wordChat([user(asked(1))], true));
    expect(questions[1]!.lead).toEqual([]);
    expect(stop).toEqual([]);
  });

  it("is read but for the lead, or without one for its last token, before the answer begins", () => {
    const first = [...context, ...questions[0]!.request];
    expect(splitPrompt(first, questions[0]!)).toEqual({ prompt: first, lead: questions[0]!.lead });
    const second = [...context, ...questions[1]!.request];
    expect(splitPrompt(second, questions[1]!)).toEqual({ prompt: second.slice(0, -1), lead: second.slice(-1) });
  });

  it("has the first answer behind the lead, as the whole text has it", () => {
    const { request, lead, scored } = questions[0]!;
    expect(text([...request, ...lead, ...scored]).endsWith("The number is 4821")).toBe(true);
    expect(text([...questions[1]!.request, ...questions[1]!.scored]).endsWith("\nParis")).toBe(true);
    const quoted = { ...drawn.questions[0]!, lead: '"number": "', joint: "" };
    const [only] = casePrompt(tokenizer, { ...drawn, questions: [quoted] }, "answers").questions;
    expect(text([...only!.lead, ...only!.scored])).toBe('"number": "4821');
  });

  it("goes on behind an answer as the template writes a conversation", () => {
    const answer = tokenizer.encode(" 4821.", { prependBos: false });
    const turns = [...context, ...questions[0]!.turn, ...questions[0]!.lead, ...answer, ...questions[1]!.turn];
    const messages = [user(asked(0)), { role: "assistant", content: "The number is 4821." }, user("Which city?")];
    expect(tokenizer.decode(turns)).toBe(wordChat(messages, true));
  });

  it("counts its tokens with all turns and answers", () => {
    const ids = [...context, ...questions[0]!.turn, ...questions[0]!.lead, ...questions[1]!.turn];
    expect(caseTokens({ context, questions, stop }, 12)).toBe(ids.length + 24);
  });

  it("is framed in plain text without a template, behind what the tokenizer puts in front", () => {
    const plain = wordTokenizer();
    const prompt = casePrompt(plain, drawn, "answers");
    const [{ request, lead }] = prompt.questions as [QuestionIds, QuestionIds];
    expect(plain.decode([...prompt.context, ...request, ...lead])).toBe(
      `<bos>${drawn.context}\n\nQuestion: Which number?\nAnswer: The number is`,
    );
    expect(plain.decode(prompt.questions[1]!.turn)).toBe("\n\nQuestion: Which city?\nAnswer:");
    expect(prompt.stop).toEqual(["\n"]);
  });

  it("is the bare text where text is scored, even with a template", () => {
    const question = { question: "\n\nAgain:", answers: [" The city is Paris."], needles: [], chance: 0 };
    const prompt = casePrompt(tokenizer, { ...drawn, questions: [question, question] }, "text");
    const [first, second] = prompt.questions;
    expect(tokenizer.decode(prompt.context)).toBe(`<bos>${drawn.context}`);
    expect(tokenizer.decode([...first!.request, ...first!.scored])).toBe("\n\nAgain: The city is Paris.");
    expect(second!.turn).toEqual(first!.request);
  });
});

describe("the score", () => {
  it("of an answer is the share of what was asked for that it holds, in letters of any case", () => {
    expect(answerScore("They are PARIS, oslo.", ["Paris", "Oslo", "Rome"])).toBeCloseTo(2 / 3);
    expect(answerScore("14821", ["4821"])).toBe(1);
    expect(answerScore("", ["4821"])).toBe(0);
  });

  it("of a text is the share of its tokens that were the likeliest", () => {
    expect(greedyScore([5, 6, 7, 8], [5, 0, 7, 0])).toBe(0.5);
  });
});
