import { describe, expect, it } from "vitest";
import {
  answerScore,
  type ContextCase,
  casePrompt,
  caseTokens,
  greedyScore,
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

  it("is the chat template's text of context and question, then the lead", () => {
    expect(tokenizer.decode([...context, ...questions[0]!.request])).toBe(
      `${wordChat([user(asked(0))], true)}The number is`,
    );
    expect(tokenizer.decode([...context, ...questions[1]!.request])).toBe(wordChat([user(asked(1))], true));
    expect(stop).toEqual([]);
  });

  it("goes on behind an answer as the template writes a conversation", () => {
    const answer = tokenizer.encode(" 4821.", { prependBos: false });
    const turns = [...context, ...questions[0]!.turn, ...answer, ...questions[1]!.turn];
    const messages = [user(asked(0)), { role: "assistant", content: "The number is 4821." }, user("Which city?")];
    expect(tokenizer.decode(turns)).toBe(wordChat(messages, true));
  });

  it("counts its tokens with all turns and answers", () => {
    const ids = [...context, ...questions[0]!.turn, ...questions[1]!.turn];
    expect(caseTokens({ context, questions, stop }, 12)).toBe(ids.length + 24);
  });

  it("is framed in plain text without a template, behind what the tokenizer puts in front", () => {
    const plain = wordTokenizer();
    const prompt = casePrompt(plain, drawn, "answers");
    expect(plain.decode([...prompt.context, ...prompt.questions[0]!.request])).toBe(
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
