import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { drawKinship, REASONING, RELATION_WORDS } from "../../../../synthetic-tasks/reasoning/kinship.ts";

const questions = Array.from({ length: 60 }, (_, seed) => drawKinship(new Random(seed)));

/** Reads what a prompt says: rules, facts, and the people of the question. */
function read(prompt: string) {
  const rules = [...prompt.matchAll(/If x is the (\w+) of y and y is the (\w+) of z, then x is the (\w+) of z\./g)];
  const facts = [...prompt.matchAll(/([A-Z]\w+) is the (\w+) of ([A-Z]\w+)\./g)].map(([, x, relation, y]) => ({ x, relation, y })); // biome-ignore format: one line
  return { rules: rules.map(([, first, second, whole]) => ({ first, second, whole })), facts };
}

describe("questions about relatives", () => {
  it("of deduction are answered by applying the one rule that fits both facts", () => {
    for (const { items } of questions)
      for (const words of RELATION_WORDS) {
        const { prompt, choices, answer } = items.deduction[words];
        const { rules, facts } = read(prompt);
        expect([rules.length, facts.length]).toEqual([3, 2]);
        expect(facts[0]!.y).toBe(facts[1]!.x);
        const fitting = rules.filter(({ first, second }) => first === facts[0]!.relation && second === facts[1]!.relation); // biome-ignore format: one line
        expect(fitting.map(({ whole }) => whole)).toEqual([choices[answer]]);
        expect(prompt.endsWith(`So for ${facts[1]!.y}, ${facts[0]!.x} is the`)).toBe(true);
      }
  });

  it("of abduction are answered by the first premise of the one rule with that conclusion", () => {
    for (const { items } of questions)
      for (const words of RELATION_WORDS) {
        const { prompt, choices, answer } = items.abduction[words];
        const { rules, facts } = read(prompt);
        const fitting = rules.filter(({ second, whole }) => whole === facts[0]!.relation && second === facts[1]!.relation); // biome-ignore format: one line
        expect(fitting.map(({ first }) => first)).toEqual([choices[answer]]);
      }
  });

  it("of induction are answered by the two examples with these premises", () => {
    for (const { items } of questions)
      for (const words of RELATION_WORDS) {
        const { prompt, choices, answer } = items.induction[words];
        const { facts } = read(prompt);
        const [, first, second] = /So if x is the (\w+) of y and y is the (\w+) of z, then x is the$/.exec(prompt)!;
        const examples = [0, 3, 6, 9, 12, 15].map((start) => facts.slice(start, start + 3));
        const fitting = examples.filter(([a, b]) => a!.relation === first && b!.relation === second);
        expect(fitting.map(([, , whole]) => whole!.relation)).toEqual([choices[answer], choices[answer]]);
      }
  });

  it("have three different choices, and each place is right about equally often", () => {
    for (const { items } of questions)
      for (const kind of REASONING)
        for (const words of RELATION_WORDS) expect(new Set(items[kind][words].choices).size).toBe(3);
    const places = questions.map(({ items }) => items.deduction.semantic.answer);
    for (const place of [0, 1, 2]) expect(places.filter((own) => own === place).length).toBeGreaterThan(10);
  });

  it("say in letters and in exchanged words what they say in their own, and exchange every conclusion", () => {
    for (const { items } of questions) {
      const shape = (prompt: string) => prompt.replace(/is the \w+/g, "is the _");
      for (const kind of REASONING)
        for (const words of ["symbolic", "counter"] as const)
          expect(shape(items[kind][words].prompt)).toBe(shape(items[kind].semantic.prompt));
      for (const relation of items.deduction.symbolic.choices) expect(relation).toMatch(/^[B-W]$/);
      const [own, other] = [items.deduction.semantic.choices, items.deduction.counter.choices];
      expect([...other].sort()).toEqual([...own].sort());
      expect(other.some((word, i) => word === own[i])).toBe(false);
    }
  });

  it("without rules hold the two facts alone", () => {
    const { withoutRules, items } = questions[0]!;
    expect(read(withoutRules.prompt)).toEqual({ rules: [], facts: read(items.deduction.semantic.prompt).facts });
    expect(withoutRules.answer).toBe(items.deduction.semantic.answer);
  });
});
