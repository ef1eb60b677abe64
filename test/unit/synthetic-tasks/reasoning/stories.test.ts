import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import type { ChoiceItem } from "../../../../synthetic-tasks/reasoning/base.ts";
import { drawStory, STORY_QUESTIONS } from "../../../../synthetic-tasks/reasoning/stories.ts";

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
