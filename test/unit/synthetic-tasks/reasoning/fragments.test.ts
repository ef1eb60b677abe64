import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { predictorLevel } from "../../../../backend/training/evaluations.ts";
import type { Batch } from "../../../../backend/training/task.ts";
import { CITIES, NAMES } from "../../../../synthetic-tasks/contexts/vocabulary.ts";
import { tasks } from "../../../../synthetic-tasks/index.ts";
import { FRAGMENT_WORDS, pairingOf, QUESTION_WORDS, questionIds } from "../../../../synthetic-tasks/reasoning/fragment-words.ts"; // biome-ignore format: one line
import { drawFragment, drawPairing, FRAGMENTS, PLAIN, TRUTHS } from "../../../../synthetic-tasks/reasoning/fragments.ts"; // biome-ignore format: one line
import { logicFragments as task } from "../../../../synthetic-tasks/reasoning/logic-fragments.ts";

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
  const found: boolean[] = [];
  for (const world of worlds(people, places))
    if (holds(premise, world, people, places)) found.push(holds(hypothesis, world, people, places));
  return truthAmong(found);
}

/** The answer, by the truths of a hypothesis wherever its premise holds. */
function truthAmong(found: readonly boolean[]): string {
  expect(found).not.toEqual([]);
  return found.every(Boolean) ? "True" : found.some(Boolean) ? "Unknown" : "False";
}

/** The same of a comparison, over all orders. */
function orderTruth(premise: string, hypothesis: string): string {
  const [known, asked] = [premise, hypothesis].map((part) => [...part.matchAll(/([A-Z]\w+) is \w+ than ([A-Z]\w+)/g)].map(([, a, b]) => [a!, b!] as const)) as [[string, string][], [string, string][]]; // biome-ignore format: one line
  const [a, b, c] = [...new Set(known.flat())] as [string, string, string];
  const orders = [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]]; // biome-ignore format: one line
  const above = (order: string[], [x, y]: readonly [string, string]) => order.indexOf(x) < order.indexOf(y);
  return truthAmong(orders.filter((order) => known.every((pair) => above(order, pair))).map((order) => above(order, asked[0]!))); // biome-ignore format: one line
}

/** The same of a fate of kinds, over all worlds of one thing of the kind and one other of the whole, which have the fate or not. */
function setTruth(premise: string, hypothesis: string): string {
  const wholes = ["animals", "flowers", "tools", "birds", "trees", "fruits", "people", "furniture items", "vehicles", "instruments"]; // biome-ignore format: one line
  const truth = ([kind, other]: readonly boolean[], sentence: string) => {
    const [, quantifier, noun] = /^(All|Some|No) ([\w ]+?) were/.exec(sentence)!;
    const members = wholes.includes(noun!) ? [kind, other] : [kind];
    if (quantifier === "All") return members.every(Boolean);
    return quantifier === "Some" ? members.some(Boolean) : !members.some(Boolean);
  };
  const all = [[true, true], [true, false], [false, true], [false, false]]; // biome-ignore format: one line
  return truthAmong(all.filter((world) => truth(world, premise)).map((world) => truth(world, hypothesis)));
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
      const [premise, hypothesis] = prompt.split("\nQuestion: ") as [string, string];
      expect(`${prompt} ${orderTruth(premise, hypothesis)}`).toBe(`${prompt} ${choices[answer]}`);
    }
  });

  it("monotonicity: answers are what the sets say in which the premise holds, of kinds that there are", () => {
    const fragment = FRAGMENTS.find(({ name }) => name === "monotonicity")!;
    for (const { prompt, choices, answer } of drawFragment(fragment, { count: 18, shots: 0 }, new Random(4))) {
      const [premise, hypothesis] = prompt.split("\nQuestion: ") as [string, string];
      expect(`${prompt} ${setTruth(premise, hypothesis)}`).toBe(`${prompt} ${choices[answer]}`);
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

describe("the task of fragments, word by word", () => {
  const params = (raw: object = {}) => tasks.parse("logic-fragments", { ...raw }) as Parameters<typeof task.sample>[1];
  const rows = 900;
  const documents = (batch: Batch) => Array.from({ length: batch.rows }, (_, row) => task.document!(null, params(), batch, row) as { premise: string; hypothesis: string; answer: string; fragment: string }); // biome-ignore format: one line
  const key = ({ premise, hypothesis }: { premise: string; hypothesis: string }) => `${premise} ${hypothesis}`;
  const training = task.sample(null, params(), new Random(1, 1), rows);

  it("has a word for every one of the generators', and gives their sentences back", () => {
    for (const [f, fragment] of [PLAIN, ...FRAGMENTS].entries())
      for (let i = 0; i < 300; i++) {
        const pairing = drawPairing(fragment, i % 3, new Random(i, f));
        const question = questionIds(pairing);
        expect(question.every((id) => id >= 0 && id < FRAGMENT_WORDS.length)).toBe(true);
        expect([question.length, pairingOf(question)]).toEqual([QUESTION_WORDS, pairing]);
      }
    expect(new Set(FRAGMENT_WORDS).size).toBe(FRAGMENT_WORDS.length);
  });

  it("has right answers: those of all worlds, orders or sets in which the premise holds", () => {
    for (const name of ["fragments", "plain"])
      for (const { premise, hypothesis, answer, fragment } of documents(
        task.evaluations[name]!.sample(null, params(), new Random(5, 2), 90),
      )) {
        // biome-ignore format: one line
        const truth = fragment === "comparative" ? orderTruth : fragment === "monotonicity" ? setTruth : truthOf;
        expect(`${premise} ${hypothesis} ${truth(premise, hypothesis)}`).toBe(`${premise} ${hypothesis} ${answer}`);
      }
  });

  it("has every answer equally often in every split, so that guessing gets a third", () => {
    const splits = Object.entries(task.evaluations).map(([name, { sample }]) => [name, sample(null, params(), new Random(3, 4), rows)] as const); // biome-ignore format: one line
    for (const [name, { classes }] of [["training", training] as const, ...splits])
      for (const truth of [0, 1, 2]) expect([name, classes!.filter((each) => each === truth).length]).toEqual([name, rows / 3]); // biome-ignore format: one line
    for (const { chance } of Object.values(task.evaluations)) expect(chance!(params())).toEqual({ accuracy: 1 / 3, loss: Math.log(3) }); // biome-ignore format: one line
  });

  it("has no name in the hypothesis that tells the answer of plain inference", () => {
    const { tokens, classes } = task.evaluations["plain"]!.sample(null, params(), new Random(6, 4), 15_000);

    const name = FRAGMENT_WORDS.indexOf("Julia");
    const asked = classes!.filter((_, r) => tokens![(r + 1) * QUESTION_WORDS - 6] === name);
    expect(asked.length).toBeGreaterThan(250);
    for (const truth of [0, 1, 2]) expect(Math.abs(asked.filter((each) => each === truth).length / asked.length - 1 / 3)).toBeLessThan(0.1); // biome-ignore format: one line
  });

  it("draws evaluations from questions that training never shows", () => {
    const held = Object.values(task.evaluations).flatMap(({ sample }) => documents(sample(null, params(), new Random(1, 1), 300)).map(key)); // biome-ignore format: one line
    // Few different ones, so that a training that showed them would have shown most of them.
    const narrow = params({ fragments: ["monotonicity", "quantifier"] });
    const shown = new Set([...documents(training), ...documents(task.sample(null, narrow, new Random(8, 1), 10_000))].map(key)); // biome-ignore format: one line
    expect(held.filter((each) => shown.has(each))).toEqual([]);
    expect(shown.size).toBeGreaterThan(1500);
  });

  it("trains on the fragments that are named, plain inference with its share", () => {
    const shares = (raw: object) => {
      const all = documents(task.sample(null, params(raw), new Random(2, 1), 3000)).map(({ fragment }) => fragment);
      return Object.fromEntries([...new Set(all)].map((name) => [name, all.filter((each) => each === name).length / 3000])); // biome-ignore format: one line
    };
    expect(shares({ fragments: ["plain"], plain_share: 0 })).toEqual({ plain: 1 });
    expect(Object.keys(shares({ fragments: ["negation"], plain_share: 1 }))).toEqual(["negation"]);
    const mixed = shares({ plain_share: 0.3 });
    expect(mixed["plain"]).toBeCloseTo(0.3, 1);
    for (const { name } of FRAGMENTS) expect(mixed[name]).toBeCloseTo(0.1, 1);
  });

  it("has the right answer as reference: no loss, full accuracy", () => {
    const drawn = task.evaluations["fragments"]!.sample(null, params(), new Random(4), 60);
    expect(predictorLevel(task.shape(params()), drawn, task.reference!.predict(null, params(), drawn))).toEqual({ loss: 0, accuracy: 1 }); // biome-ignore format: one line
  });
});
