import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import type { Batch } from "../../../../backend/training/task.ts";
import type { ChoiceItem } from "../../../../synthetic-tasks/reasoning/base.ts";
import { drawQuestion, drawStory, type SingleQuestion, STORY_QUESTIONS, WHOLE_QUESTIONS } from "../../../../synthetic-tasks/reasoning/stories.ts"; // biome-ignore format: one line
import {
  STORY_ANSWERS,
  STORY_LENGTH,
  STORY_WORDS,
  storyIds,
  storyText,
  storyQuestions as task,
} from "../../../../synthetic-tasks/reasoning/story-questions.ts";

const BASE: Readonly<Record<string, string>> = {
  bought: "buy", sold: "sell", found: "find", lost: "lose", broke: "break", painted: "paint", cleaned: "clean", stole: "steal",
  paid: "pay", called: "call", helped: "help", followed: "follow", thanked: "thank", visited: "visit", blamed: "blame",
  trusted: "trust",
}; // biome-ignore format: a table

/** Answers a question by what its story says, and nothing else. */
function byReading(block: string): string {
  const [story, question] = block.split("\nQuestion: ") as [string, string];
  const sentences = story.split(". ").map((sentence) => {
    const [, who, denied, deed, what] = /^(\w+) (did not )?(\w+) (?:the )?(\w+)/.exec(sentence)!;
    return { who, denied: denied !== undefined, deed: denied ? deed : BASE[deed!], what };
  });
  const [, which, who, deed, what] = /^(?:(What) did|Did) (\w+) (\w+)(?: (?:the )?(\w+))?\?/.exec(question)!;
  const named = sentences.filter((own) => [own.who, own.what].includes(who) && own.deed === deed);
  if (which !== undefined) return named.find(({ denied }) => !denied)?.what ?? "nothing";
  if (named.length === 0) return "unknown";
  return named.some((own) => !own.denied && own.who === who && own.what === what) ? "yes" : "no";
}

const stories = Array.from({ length: 40 }, (_, seed) => drawStory(new Random(seed)));
const blocks = ({ prompt }: ChoiceItem): string[] => prompt.split("\n\n");

describe("questions about stories", () => {
  it.each(STORY_QUESTIONS)("%s: are answered by what the story says", (name) => {
    for (const items of stories) {
      const item = items[name];
      expect(new Set(item.choices).size).toBe(item.choices.length);
      expect(byReading(blocks(item).at(-1)!)).toBe(item.choices[item.answer]);
    }
  });

  it("have demonstrations with right answers, of every one in a question of yes and no", () => {
    for (const items of stories)
      for (const name of STORY_QUESTIONS) {
        const shown = blocks(items[name]).slice(0, -1);
        const answers = shown.map((block) => /Answer: (\w+)$/.exec(block)![1]!);
        expect(shown.map(byReading)).toEqual(answers);
        if (!name.startsWith("which")) expect(new Set(answers)).toEqual(new Set(["yes", "no", "unknown"]));
      }
  });

  it("ask the same of the story as it is, without its sentence, and with its negation", () => {
    for (const items of stories) {
      const parts = (name: "true" | "deleted" | "negated") => blocks(items[name]).at(-1)!.split("\nQuestion: ") as [string, string];
      const [[own, asked], [less, again], [denied, third]] = [parts("true"), parts("deleted"), parts("negated")];
      expect([again, third]).toEqual([asked, asked]);
      expect([own, less, denied].map((story) => story.split(/\. |\.$/).filter(Boolean).length)).toEqual([3, 2, 3]);
      expect(denied).toMatch(/ did not /);
    }
  }); // biome-ignore format: long lines of one call

  it("name the outsider of a demonstration by no name alone", () => {
    const outsiders = stories.flatMap(({ true: item }) =>
      blocks(item).flatMap((block) => /Did (\w+) .*\nAnswer: unknown/.exec(block)?.[1] ?? []),
    );
    expect(outsiders).toHaveLength(40);
    expect(new Set(outsiders).size).toBeGreaterThan(10);
  });
});

describe("single questions about stories", () => {
  const ALL: readonly SingleQuestion[] = [...new Set([...STORY_QUESTIONS, ...WHOLE_QUESTIONS])];

  it.each(ALL)("%s: are answered by what the story says, whatever becomes of its other sentences", (name) => {
    const drawn = Array.from({ length: 200 }, (_, seed) => drawQuestion(new Random(seed), name));
    for (const { prompt, choices, answer } of drawn) expect([prompt, byReading(prompt)]).toEqual([prompt, choices[answer]]);
    const stories = drawn.map(({ prompt }) => prompt.split("\n")[0]!);
    expect(new Set(stories.map((story) => story.split(/\. |\.$/).filter(Boolean).length)).size).toBe(name.endsWith("deleted") ? 1 : 2);
    expect(stories.some((story) => !story.includes(" not "))).toBe(!name.endsWith("negated"));
  }); // biome-ignore format: one line

  it("have words, and a place, for each of them", () => {
    for (const [i, name] of ALL.entries())
      for (let seed = 0; seed < 200; seed++) {
        const { prompt, choices, answer } = drawQuestion(new Random(seed, i), name);
        expect([storyIds(prompt).length, storyText(storyIds(prompt))]).toEqual([STORY_LENGTH, prompt]);
        expect(STORY_ANSWERS).toContain(choices[answer]);
      }
    expect(new Set(STORY_WORDS).size).toBe(STORY_WORDS.length);
    expect(new Set(STORY_ANSWERS).size).toBe(STORY_ANSWERS.length);
  });
});

describe("the task of questions about stories", () => {
  const rows = 1600;
  const training = (deletions: number, seed = 1) => task.sample(null, { deletions }, new Random(seed, 1), rows);
  const texts = ({ tokens }: Batch) => Array.from({ length: rows }, (_, r) => storyText(tokens!.subarray(r * STORY_LENGTH, (r + 1) * STORY_LENGTH))); // biome-ignore format: one line
  const answers = ({ classes }: Batch) => [...classes!].map((id) => STORY_ANSWERS[id]!);
  const share = (batch: Batch, answer: string) => answers(batch).filter((each) => each === answer).length / rows;
  const told = (text: string) => {
    const [, who, deed] = /Question: (?:What did|Did) (\w+) (\w+)/.exec(text)!;
    return new RegExp(
      `${who} (?:did not )?${deed}|${who} ${Object.keys(BASE).find((past) => BASE[past] === deed)}`,
    ).test(text);
  };

  it("trains on questions that are right, of each kind equally often", () => {
    const drawn = training(0);
    expect(texts(drawn).map(byReading)).toEqual(answers(drawn));
    for (const answer of ["yes", "no", "unknown"]) expect(share(drawn, answer)).toBeCloseTo(1 / 4, 1);
    expect(share(drawn, "nothing")).toBeCloseTo(1 / 8, 1);
  });

  it("leaves the sentence that is asked about out only where deletions says so", () => {
    const strangers = (deletions: number) => {
      const drawn = training(deletions);
      expect(texts(drawn).map(byReading)).toEqual(answers(drawn));
      return answers(drawn).filter((answer) => answer === "unknown" || answer === "nothing").length / rows;
    };
    expect(strangers(0)).toBeCloseTo(3 / 8, 1);
    expect(strangers(0.5)).toBeCloseTo(3 / 16 + 1 / 2, 1);
    expect(texts(training(0)).every((text) => told(text) || /unknown|nothing/.test(byReading(text)))).toBe(true);
  });

  it("evaluates each kind on questions that training never shows; of kept answers on what was right before", () => {
    const shown = new Set([0, 0.5].flatMap((deletions) => texts(training(deletions))));
    for (const [name, { sample, chance }] of Object.entries(task.evaluations)) {
      const drawn = sample(null, { deletions: 0 }, new Random(2), rows);
      expect(texts(drawn).filter((text) => shown.has(text))).toEqual([]);
      if (name === "kept") expect(new Set(answers(drawn))).toEqual(new Set(["yes"]));
      else expect(texts(drawn).map(byReading)).toEqual(answers(drawn));
      expect(chance!({ deletions: 0 }).accuracy).toBe(name.startsWith("which") ? 1 / 4 : 1 / 3);
    }
    const deleted = (name: string) =>
      texts(task.evaluations[name]!.sample(null, { deletions: 0 }, new Random(7), rows));
    expect(deleted("kept")).toEqual(deleted("deleted"));
  });
});
