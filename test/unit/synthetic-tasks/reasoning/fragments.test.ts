import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { CITIES, NAMES } from "../../../../synthetic-tasks/contexts/vocabulary.ts";
import { drawFragment, FRAGMENTS, PLAIN, TRUTHS } from "../../../../synthetic-tasks/reasoning/fragments.ts";

/** Every way in which people can have visited cities, as sets of "who where". */
function* worlds(people: readonly string[], cities: readonly string[]): Generator<Set<string>> {
  const all = people.flatMap((who) => cities.map((where) => `${who} ${where}`));
  for (let bits = 0; bits < 2 ** all.length; bits++) yield new Set(all.filter((_, i) => (bits >> i) & 1));
}

/** Truth of a sentence about visits in a world. */
function holds(sentence: string, world: ReadonlySet<string>, people: readonly string[], cities: readonly string[]): boolean {
  const text = sentence.replace(/\.$/, "");
  const implied = /^(.*), and if (.*) then (.*)$/.exec(text);
  if (implied) {
    const [own, before, behind] = implied.slice(1).map((part) => holds(part!, world, people, cities)) as [boolean, boolean, boolean];
    return own && (!before || behind);
  }
  const parts = text.split(/\. |, (?=\w+ has only)/);
  if (parts.length > 1) return parts.every((part) => holds(part, world, people, cities));
  const list = (words: string) => words.split(/, | and /);
  const visits = (who: string) => cities.filter((where) => world.has(`${who} ${where}`));
  const count = /^(\w+) has visited (more|fewer) than (\w+) cities$/.exec(text);
  if (count) {
    const [, who, way, word] = count as unknown as [string, string, string, string];
    const bound = ["zero", "one", "two", "three", "four", "five", "six"].indexOf(word);
    return way === "more" ? visits(who).length > bound : visits(who).length < bound;
  }
  const all = /^(\w+) has visited (\w+)$/.exec(text);
  if (all?.[1] === "Everyone") return people.every((who) => world.has(`${who} ${all[2]}`));
  if (text.startsWith("No one")) return people.every((who) => !world.has(`${who} ${text.split(" ").at(-1)}`));
  if (all?.[1] === "Someone") return people.some((who) => world.has(`${who} ${all[2]}`));
  const denied = /^(\w+) has not visited (\w+)$/.exec(text);
  if (denied) return !world.has(`${denied[1]} ${denied[2]}`);
  const only = /^(.+) ha(?:s|ve) only visited (\w+)$/.exec(text);
  if (only) return list(only[1]!).every((who) => visits(who).join() === only[2]);
  const [, who, where] = /^(.+) has visited (.+)$/.exec(text)!;
  return list(where!).every((city) => world.has(`${who} ${city}`));
} // biome-ignore format: long lines of one call

/** Entailment, contradiction or neither, over all worlds in which the premise holds. */
function truthOf(premise: string, hypothesis: string): string {
  const names = new Set(`${premise} ${hypothesis}`.match(/[A-Z]\w+/g)!.filter((word) => NAMES.includes(word)));
  const cities = new Set(`${premise} ${hypothesis}`.match(/[A-Z]\w+/g)!.filter((word) => CITIES.includes(word)));
  // Somebody and somewhere else, so that a sentence about all is not one about those named.
  const people = [...names, "Other"];
  const places = [...cities, ...(hypothesis.includes("cities") ? ["Here", "There", "Nowhere"] : [])];
  const found = new Set<boolean>();
  for (const world of worlds(people, places))
    if (holds(premise, world, people, places)) found.add(holds(hypothesis, world, people, places));
  return found.size === 2 ? "Unknown" : found.has(true) ? "True" : "False";
}

const VISITS = [PLAIN, ...FRAGMENTS].filter(({ name }) => !["comparative", "monotonicity"].includes(name));

describe("fragments of logic", () => {
  it.each(VISITS)("$name: every answer is what all worlds say in which the premise holds", (fragment) => {
    for (const { prompt, choices, answer } of drawFragment(fragment, { count: 6, shots: 0 }, new Random(2))) {
      const [, premise, hypothesis] = /^(.*)\nQuestion: (.*) True, False or Unknown\?\nAnswer:$/.exec(prompt)!;
      expect(`${prompt} ${truthOf(premise!, hypothesis!)}`).toBe(`${prompt} ${choices[answer]}`);
    }
  });

  it("comparative: answers are what the orders say in which the premise holds", () => {
    const fragment = FRAGMENTS.find(({ name }) => name === "comparative")!;
    for (const { prompt, choices, answer } of drawFragment(fragment, { count: 12, shots: 0 }, new Random(3))) {
      const [premise, hypothesis] = prompt.split("\nQuestion: ").map((part) => [...part.matchAll(/([A-Z]\w+) is \w+ than ([A-Z]\w+)/g)].map(([, a, b]) => [a!, b!] as const)); // biome-ignore format: one line
      const [a, b, c] = [...new Set(premise!.flat())] as [string, string, string];
      const orders = [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]]; // biome-ignore format: one line
      const above = (order: string[], [x, y]: readonly [string, string]) => order.indexOf(x) < order.indexOf(y);
      const found = new Set(orders.filter((order) => premise!.every((pair) => above(order, pair))).map((order) => above(order, hypothesis![0]!))); // biome-ignore format: one line
      expect(found.size === 2 ? "Unknown" : found.has(true) ? "True" : "False").toBe(choices[answer]);
    }
  });

  it("monotonicity: answers are what the sets say in which the premise holds, of kinds that there are", () => {
    const fragment = FRAGMENTS.find(({ name }) => name === "monotonicity")!;
    // A world: one of the kind, one other of the whole; each has the fate or not.
    const all = [[true, true], [true, false], [false, true], [false, false]] as const; // biome-ignore format: one line
    for (const { prompt, choices, answer } of drawFragment(fragment, { count: 18, shots: 0 }, new Random(4))) {
      const sentences = [...prompt.matchAll(/(All|Some|No) ([\w ]+?) were/g)].map(([, quantifier, noun]) => ({ quantifier, noun })); // biome-ignore format: one line
      const wholes = ["animals", "flowers", "tools", "birds", "trees", "fruits", "people", "furniture items", "vehicles", "instruments"]; // biome-ignore format: one line
      const truth = ([kind, other]: (typeof all)[number], { quantifier, noun }: (typeof sentences)[number]) => {
        const members = wholes.includes(noun!) ? [kind, other] : [kind];
        if (quantifier === "All") return members.every(Boolean);
        return quantifier === "Some" ? members.some(Boolean) : !members.some(Boolean);
      };
      const found = new Set(all.filter((world) => truth(world, sentences[0]!)).map((world) => truth(world, sentences[1]!))); // biome-ignore format: one line
      expect(`${prompt} ${found.size === 2 ? "Unknown" : found.has(true) ? "True" : "False"}`).toBe(`${prompt} ${choices[answer]}`); // biome-ignore format: one line
    }
  });

  it("have every answer equally often, and the same questions with demonstrations as without", () => {
    for (const [f, fragment] of [PLAIN, ...FRAGMENTS].entries()) {
      const bare = drawFragment(fragment, { count: 12, shots: 0 }, new Random(1, f));
      const shown = drawFragment(fragment, { count: 12, shots: 6 }, new Random(1, f));
      for (const place of [0, 1, 2]) expect(bare.filter(({ answer }) => answer === place)).toHaveLength(4);
      for (const [i, { prompt, answer }] of shown.entries()) {
        const blocks = prompt.split("\n\n");
        expect([blocks.length, blocks.at(-1), answer]).toEqual([7, bare[i]!.prompt, bare[i]!.answer]);
        for (const truth of TRUTHS) expect(blocks.filter((block) => block.endsWith(` ${truth}`))).toHaveLength(2);
      }
    }
  });
});
