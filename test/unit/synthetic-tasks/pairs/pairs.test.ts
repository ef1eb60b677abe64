import { describe, expect, it } from "vitest";
import type { HeadscopeError } from "../../../../backend/common/errors.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { type PairSample, pairTasks, samplePairs } from "../../../../synthetic-tasks/pairs/index.ts";
import { wordModel } from "../../../helpers/word-model.ts";

const model = wordModel();
const COUNT = 120;

function sample(name: string, params: Record<string, unknown> = {}, seed = 1, count = COUNT): PairSample {
  return samplePairs(model, pairTasks.get(name), pairTasks.parse(name, params), { count, seed });
}

const text = (ids: readonly number[]): string => model.tokenizer.decode([...ids]);
const counts = (values: readonly unknown[]): number[] => [
  ...values.reduce<Map<unknown, number>>((map, value) => map.set(value, (map.get(value) ?? 0) + 1), new Map()).values(),
];

/** Positions at which the two sides differ. */
const CHANGES: Readonly<Record<string, number>> = { "greater-than": 2, docstring: 2, labels: 8, colours: 2 };

/** Pairs whose answers are one token each. */
function single(tokens: PairSample["tokens"]) {
  return tokens.map((pair) => ({ ...pair, answer: Number(pair.answer), wrong: Number(pair.wrong) }));
}

describe.each(pairTasks.names())("pairs of %s", (name) => {
  const { tokens, kinds, pairs } = sample(name);

  it("have sides of one length that differ, and answers that do", () => {
    expect(tokens).toHaveLength(COUNT);
    for (const { clean, corrupt, answer, wrong } of tokens) {
      expect(corrupt).toHaveLength(clean.length);
      expect(corrupt).not.toEqual(clean);
      expect(wrong).not.toBe(answer);
    }
  });

  it("name the wording that they were made by, where there are several", () => {
    const several = new Set(kinds).size > 1;
    expect(pairs.map(({ template }) => template)).toEqual(several ? kinds : kinds.map(() => undefined));
  });

  it("differ only in what decides", () => {
    for (const { clean, corrupt } of tokens) {
      const differing = clean.filter((id, t) => id !== corrupt[t]).length;
      expect(differing).toBeGreaterThan(0);
      expect(differing).toBeLessThanOrEqual(CHANGES[name] ?? 1);
    }
  });

  it("are all different", () => {
    expect(new Set(tokens.map((pair) => JSON.stringify(pair))).size).toBe(COUNT);
  });

  it("hold every kind equally often", () => {
    const each = counts(kinds);
    expect(Math.max(...each) - Math.min(...each)).toBeLessThanOrEqual(1);
    expect(each.length).toBe(new Set(kinds).size);
  });

  it("have no token that is the answer much more often than the wrong answer", () => {
    if (name === "greater-than") return; // an end above the beginning is larger than one below it
    const balance = new Map<number, number>();
    for (const { answer, wrong } of single(sample(name, {}, 5, 400).tokens)) {
      balance.set(answer, (balance.get(answer) ?? 0) + 1);
      balance.set(wrong, (balance.get(wrong) ?? 0) - 1);
    }
    // Six standard deviations of as many fair coins.
    for (const difference of balance.values()) expect(Math.abs(difference)).toBeLessThan(6 * Math.sqrt(400));
  });

  it("are the same for a seed, and others for another", () => {
    expect(sample(name).tokens).toEqual(tokens);
    expect(sample(name, {}, 2).tokens).not.toEqual(tokens);
  });

  it("are read back from the pair file as the same ids", () => {
    for (const [p, pair] of pairs.entries()) {
      if (typeof pair.clean === "string") expect(model.tokenizer.encode(pair.clean)).toEqual(tokens[p]!.clean);
      if (typeof pair.answer === "string")
        expect(model.tokenizer.encode(pair.answer, { prependBos: false })).toEqual([tokens[p]!.answer]);
      else expect(pair.answer).toBe(tokens[p]!.answer);
    }
  });
});

describe("tasks of minimal pairs", () => {
  it("ioi names the receiver once and the giver twice, who was named second in ABBA and first in BABA", () => {
    const { tokens, kinds } = sample("ioi");
    for (const [p, { clean, corrupt, answer, wrong }] of single(tokens).entries()) {
      const named = (row: number[], id: number): number =>
        row.filter((x) => text([x]).trim() === text([id]).trim()).length;
      expect([named(clean, answer), named(clean, wrong)]).toEqual([1, 2]);
      expect([named(corrupt, answer), named(corrupt, wrong)]).toEqual([2, 1]);
      const words = clean.map((id) => text([id]).trim());
      const giverFirst = words.indexOf(text([wrong]).trim()) < words.indexOf(text([answer]).trim());
      expect(giverFirst).toBe(kinds[p]!.startsWith("BABA"));
    }
  });

  it("ioi keeps to one order and one template where it is told to", () => {
    expect(new Set(sample("ioi", { order: "ABBA", template: 2 }).kinds)).toEqual(new Set(["ABBA, template 2"]));
  });

  it.each([1, 2])(
    "greater-than's answer lies above the beginning and the wrong one below, with %i digits a token",
    (digits) => {
      const other = wordModel({ digits });
      const { tokens } = samplePairs(other, pairTasks.get("greater-than"), {}, { count: 60, seed: 3 });
      for (const { clean, corrupt, answer, wrong } of single(tokens)) {
        const decade = (row: number[]): number => Number(/1\d(\d)\d/.exec(other.tokenizer.decode(row))![1]);
        const [right, low] = [answer, wrong].map((id) => Number(other.tokenizer.decode([id])[0]));
        expect(right).toBeGreaterThan(decade(clean));
        expect(low).toBeLessThan(decade(clean));
        expect(low).toBeGreaterThan(decade(corrupt));
      }
    },
  );

  it("induction calls for what followed the last token before", () => {
    const wordless = { ...model, tokenizer: undefined, config: { d_vocab: 40, n_ctx: 64 } } as unknown as Model;
    const { tokens } = samplePairs(wordless, pairTasks.get("induction"), { length: 8 }, { count: 50, seed: 1 });
    for (const { clean, corrupt, answer, wrong } of tokens) {
      for (const [row, next] of [
        [clean, answer],
        [corrupt, wrong],
      ] as const)
        expect(row[row.indexOf(row.at(-1)!) + 1]).toBe(next);
    }
  });

  it("labels end with an example of the answer's label in half of the pairs", () => {
    const { tokens } = sample("labels");
    const ends = single(tokens).filter(({ clean, answer }) => clean.lastIndexOf(answer) === clean.length - 4);
    expect(ends).toHaveLength(COUNT / 2);
  });

  it("agreement asks for singular and plural beside either, equally often", () => {
    const { kinds } = sample("agreement", {}, 1, 112);
    expect(counts(kinds.map((kind) => kind.split(",")[0]))).toEqual([28, 28, 28, 28]);
  });

  it("leave out words that the tokenizer cuts", () => {
    const cutting = wordModel({ cut: (word) => /^(Mary|John)$/.test(word) });
    const { tokens } = samplePairs(cutting, pairTasks.get("ioi"), pairTasks.parse("ioi"), { count: 60, seed: 1 });
    expect(tokens.map(({ clean }) => cutting.tokenizer.decode(clean)).join("\n")).not.toMatch(/Mary|John/);
  });

  const kind = (work: () => unknown): string => {
    try {
      work();
    } catch (error) {
      return (error as HeadscopeError).kind;
    }
    return "none";
  };

  it("refuse a tokenizer that cuts all their words, a model without one, and more pairs than there are", () => {
    const options = { count: 4, seed: 1 };
    const ioi = pairTasks.get("ioi");
    const params = pairTasks.parse("ioi");
    expect(kind(() => samplePairs(wordModel({ cut: (w) => w.length > 2 }), ioi, params, options))).toBe("unsupported");
    const wordless = { ...model, tokenizer: undefined } as unknown as Model;
    expect(kind(() => samplePairs(wordless, ioi, params, options))).not.toBe("none");
    const pronoun = pairTasks.get("pronoun");
    expect(kind(() => samplePairs(model, pronoun, { template: 0 }, { count: 5000, seed: 1 }))).toBe("unsupported");
  });
});
