import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FILLER } from "../../../../backend/common/texts/haystack.ts";
import { contextTasks, type DrawnCase, drawCase } from "../../../../synthetic-tasks/contexts/index.ts";
import { ANIMALS, CITIES, FRUITS, NAMES, THINGS } from "../../../../synthetic-tasks/contexts/vocabulary.ts";
import { failure, refused } from "../../../helpers/errors.ts";
import { wordTokenizer } from "../../../helpers/texts/word-tokenizer.ts";

const folder = mkdtempSync(join(tmpdir(), "headscope-contexts-"));
const text = join(folder, "text.txt");
const story = Array.from(
  { length: 4000 },
  (_, i) => `${"abcdefgh"[i % 8]}${"xyz"[(i * i) % 3]}${i % 7 === 0 ? ".\n" : ""}`,
).join(" ");
writeFileSync(text, story);
afterAll(() => rmSync(folder, { recursive: true }));

const tokenizer = wordTokenizer({ chats: true });
/** Parameters that a task can't do without. */
const NEEDS: Readonly<Record<string, object>> = { perplexity: { text } };

function draw(name: string, params: object = {}, tokens = 600, number = 0): DrawnCase {
  const complete = contextTasks.parse(name, { ...NEEDS[name], ...params }) as Record<string, unknown>;
  return drawCase(tokenizer, contextTasks.get(name), complete, { tokens, number });
}

function size({ questions: [question], prompt: { context, questions } }: DrawnCase): number {
  const { request, lead, scored } = questions[0]!;
  const text = question!.lead === undefined ? scored.length : 0;
  return context.length + request.length + lead.length + text;
}

/** Occurrences of a text in another. */
const occurrences = (context: string, part: string): number => context.split(part).length - 1;

describe.each(contextTasks.names())("cases of %s", (name) => {
  const { scoring } = contextTasks.get(name);
  const cases = [0, 1, 2, 3].map((number) => draw(name, {}, 600, number));

  it("fill a room but for a sentence or two, whatever its size", () => {
    for (const tokens of [400, 601, 2500]) {
      const filled = size(draw(name, {}, tokens));
      expect(filled).toBeLessThanOrEqual(tokens);
      expect(filled).toBeGreaterThan(tokens - 50);
    }
  });

  it("are the same for one number, and others for others", () => {
    expect(draw(name, {}, 600, 1)).toEqual(cases[1]);
    expect(new Set(cases.map(({ context }) => context)).size).toBe(cases.length);
  });

  it("have as many questions as were asked for, each with an answer and a chance below 1", () => {
    if (name !== "perplexity") expect(draw(name, { questions: 2 }).questions).toHaveLength(2);
    for (const { answers, chance } of cases.flatMap(({ questions }) => questions)) {
      expect(answers.length).toBeGreaterThan(0);
      expect(chance).toBeLessThan(0.5);
      expect(chance === 0).toBe(scoring === "text");
    }
  });

  it("have the needles at the depths they name", () => {
    for (const { context, questions } of cases)
      for (const { text, depth } of questions.flatMap(({ needles }) => needles)) {
        expect(context.slice(Math.round(depth * (context.length - text.length)))).toMatch(
          new RegExp(`^${text.replace(/[^\w ]/g, "\\$&")}`),
        );
      }
  });

  it("are refused in a room too small, with the fewest tokens", async () => {
    const error = await failure(() => draw(name, {}, 2));
    expect(error).toMatchObject({ kind: "usage", field: "lengths" });
    expect(error.message).toContain("2 tokens");
    const least = Number(/at least (\d+)/.exec(error.remedy!)![1]);
    expect(size(draw(name, {}, least))).toBe(least);
    expect(() => draw(name, {}, least - 1)).toThrow(refused("usage"));
  });
});

const ANSWERED = contextTasks.names().filter((name) => contextTasks.get(name).scoring === "answers");

describe.each(ANSWERED)("answers of %s", (name) => {
  it("are in the needles, and nowhere else", () => {
    for (const { context, questions } of [0, 1, 2, 3].map((number) => draw(name, {}, 600, number)))
      for (const { question, lead, answers, needles } of questions) {
        const rest = needles.reduce((left, needle) => left.replaceAll(needle.text, ""), context);
        for (const answer of answers) {
          expect(needles.some((needle) => needle.text.includes(answer))).toBe(true);
          expect(`${rest}${question}${lead}`.toLowerCase()).not.toContain(answer.toLowerCase());
        }
      }
  });
});

describe("needles", () => {
  it.each(["needle", "passkey"])("of %s lie where the first question's depth says", (name) => {
    for (const depth of [0, 0.5, 1]) {
      const { questions } = draw(name, { depth }, 2000);
      expect(Math.abs(questions[0]!.needles[0]!.depth - depth)).toBeLessThan(0.05);
    }
  });

  it("are anywhere by default: over many cases at all depths alike", () => {
    const depths = Array.from(
      { length: 60 },
      (_, number) => draw("needle", {}, 600, number).questions[0]!.needles[0]!.depth,
    );
    for (const third of [0, 1, 2]) {
      const share = depths.filter((depth) => Math.floor(Math.min(depth, 0.999) * 3) === third).length / depths.length;
      expect(Math.abs(share - 1 / 3)).toBeLessThan(0.2);
    }
  });

  it("of variable-tracking stand in the order in which the thing is passed on", () => {
    const { questions } = draw("variable-tracking", { hops: 4 });
    for (const { answers, needles } of questions)
      needles.forEach(({ text }, hop) => {
        expect(text).toContain(answers[hop]);
        if (hop > 0) expect(text.startsWith(answers[hop - 1]!)).toBe(true);
      });
  });

  it("of multi-key are as many as keys, those of multi-value as values", () => {
    expect(occurrences(draw("multi-key", { keys: 9 }).context, "magic number of the")).toBe(9);
    for (const { answers, needles } of draw("multi-value", { values: 4 }).questions)
      expect([answers.length, needles.length]).toEqual([4, 4]);
  });
});

describe("chance", () => {
  const chances = (name: string, params: object = {}) => draw(name, params).questions.map(({ chance }) => chance);

  it("is one in the values that could be meant", () => {
    expect(chances("multi-key", { keys: 5 })).toEqual([1 / 5, 1 / 5, 1 / 5]);
    expect(chances("passkey")).toEqual([1 / 3, 1 / 3, 1 / 3]);
    expect(chances("many-shot", { labels: 3 })[0]).toBe(1 / 3);
    const { context, questions } = draw("key-value");
    expect(questions[0]!.chance).toBe(1 / occurrences(context, '": "'));
  });

  it("is one in the values that there are, where the context has no other", () => {
    expect(chances("passkey", { questions: 1 })).toEqual([1 / 90_000]);
    expect(chances("multi-key", { questions: 1, keys: 1 })).toEqual([1 / 9000]);
    for (const chance of chances("needle", { questions: 5 })) expect([1 / 9000, 1 / 20]).toContain(chance);
  });

  it("is the share that as many guesses name, where several are asked for", () => {
    expect(chances("multi-value", { values: 3 })[0]).toBe(3 / 20);
    expect(chances("common-words", { common: 2, others: 6 })[0]).toBe(2 / 8);
    expect(chances("frequent-words", { words: 10, asked: 3 })[0]).toBe(3 / 10);
  });
});

describe("lists", () => {
  it("of common-words have the common ones several times as often as any other", () => {
    const { context, questions } = draw("common-words", { common: 2, others: 5, times: 4 }, 2000);
    for (const { lead, answers } of questions) {
      const verb = lead!.replace("Most people ", "");
      const words = [...context.matchAll(new RegExp(`${verb} (\\w+)\\.`, "g"))].map((match) => match[1]!);
      const counts = [...new Set(words)].map((word) => [word, words.filter((each) => each === word).length] as const);
      const others = counts.filter(([word]) => !answers.includes(word)).map(([, count]) => count);
      expect(others).toHaveLength(5);
      for (const answer of answers)
        expect(counts.find(([word]) => word === answer)![1] / Math.max(...others)).toBeGreaterThan(2.5);
    }
  });

  it("of frequent-words fall off by their exponent", () => {
    const { context, questions } = draw("frequent-words", { asked: 3, alpha: 1 }, 4000);
    const counts = questions[0]!.answers.map((word) => occurrences(context, ` ${word}.`));
    expect(counts[0]! / counts[1]!).toBeCloseTo(2, 0);
    expect(counts[0]! / counts[2]!).toBeCloseTo(3, 0);
  });

  it("of many-shot ask about words that no example has, where that is wanted", () => {
    const word = (drawn: DrawnCase) => /label of (\w+)/.exec(drawn.questions[0]!.question)![1]!;
    const [seen, other] = [draw("many-shot", {}, 4000), draw("many-shot", { seen: false }, 4000)];
    expect(occurrences(seen.context, `Input: ${word(seen)}\n`)).toBeGreaterThan(0);
    expect(occurrences(other.context, `Input: ${word(other)}\n`)).toBe(0);
  });
});

describe("text that is scored", () => {
  it("of repeated-text stands in the context, and the question ends as its beginning does", () => {
    const { context, questions, prompt } = draw("repeated-text");
    for (const [q, { question, answers }] of questions.entries()) {
      expect(context).toContain(question.replace(/^\s*Again /, "") + answers[0]);
      expect(tokenizer.decode(prompt.questions[q]!.scored)).toBe(answers[0]);
    }
  });

  it("of perplexity is the last part of a window of the file", () => {
    const drawn = draw("perplexity", { scored: 0.5 });
    expect(story).toContain(drawn.context + drawn.questions[0]!.answers[0]);
    expect(drawn.prompt.questions[0]!.scored.length / size(drawn)).toBeCloseTo(0.5, 1);
  });

  it("of perplexity is refused where the file isn't there, is no text, or is too short", async () => {
    const task = contextTasks.get("perplexity");
    const check = (path: string) => task.check!({ text: path, scored: 0.25 });
    expect(() => check(join(folder, "none.txt"))).toThrow(refused("input", { field: "text" }));
    writeFileSync(join(folder, "bytes.txt"), Buffer.from([0xff, 0xfe, 0x41]));
    expect(() => check(join(folder, "bytes.txt"))).toThrow(refused("input", { field: "text" }));
    writeFileSync(join(folder, "short.txt"), "one two three four");
    const error = await failure(() => draw("perplexity", { text: join(folder, "short.txt") }));
    expect(error).toMatchObject({ kind: "usage", field: "lengths", remedy: "give a length of at most 5" });
  });
});

describe("words that answers are made of", () => {
  const words = [ANIMALS, FRUITS, CITIES, THINGS, NAMES].flat().map((word) => word.toLowerCase());

  it("stand in no other, and not in the sentences around needles", () => {
    for (const word of words) {
      expect(words.filter((other) => other.includes(word))).toEqual([word]);
      expect(FILLER.join(" ").toLowerCase()).not.toContain(word);
    }
  });
});

describe("parameters", () => {
  it("of multi-key that ask about more keys than there are, are refused", () => {
    const check = () =>
      contextTasks.get("multi-key").check!(contextTasks.parse("multi-key", { questions: 4, keys: 3 }));
    expect(check).toThrow(refused("usage", { field: ["questions", "keys"] }));
  });
});
