import { describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { TextAutomaton } from "../../../../synthetic-tasks/characters/automaton.ts";
import { ALPHABET, sentenceForms } from "../../../../synthetic-tasks/characters/sentences.ts";

/** A long stretch of a text. */
function stretch(text: TextAutomaton, length: number): string {
  const random = new Random(4, 1);
  let written = "";
  for (let state = text.start(random); written.length < length; state = text.next(state, random))
    written += text.characters[state]!;
  return written;
}

describe("sentences of a text", () => {
  const forms = sentenceForms({ plain: 0.5, words: 20 }, new Random(0));
  const sentences = (text: string) => text.split(". ").slice(1, -1);

  it("are of the alphabet alone, in shares that sum to 1, and end with a point and a space", () => {
    expect(new Set(forms.flatMap(({ parts }) => parts.flat().flatMap((text) => [...text])))).toEqual(new Set(ALPHABET));
    expect(forms.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 12);
    for (const { parts } of forms) expect(parts.at(-1)!.every((text) => text.endsWith(" "))).toBe(true);
  });

  it("are whole ones as often as is said", () => {
    const plain = new Set(forms[0]!.parts[0]!.map((text) => text.slice(0, -1)));
    const all = sentences(stretch(new TextAutomaton(forms), 200_000));
    const share = all.filter((sentence) => plain.has(sentence)).length / all.length;
    expect(Math.abs(share - 0.5)).toBeLessThan(0.03);
    const none = sentenceForms({ plain: 0, words: 20 }, new Random(0));
    expect(sentences(stretch(new TextAutomaton(none), 20_000)).filter((sentence) => plain.has(sentence))).toEqual([]);
  });

  it("have as many words of each kind as is said, others for another seed", () => {
    const names = (seed: number) => {
      const few = sentenceForms({ plain: 0, words: 3 }, new Random(seed));
      return few.find(({ parts }) => parts[0]!.length > 1)!.parts[0]!;
    };
    expect(names(1)).toHaveLength(3);
    expect(names(2)).not.toEqual(names(1));
  });
});

describe("an automaton that writes sentences", () => {
  const forms = [
    { share: 0.75, parts: [["ab", "ac"], [". "]] },
    { share: 0.25, parts: [["b. "]] },
  ];
  const text = new TextAutomaton(forms);
  const chances = (seen: string): Record<string, number> => {
    let belief = text.steady;
    for (const character of seen) belief = text.after(belief, character);
    const found: Record<string, number> = {};
    for (const [state, chance] of belief)
      found[text.characters[state]!] = (found[text.characters[state]!] ?? 0) + chance;
    return found;
  };

  it("foretells by Bayes' rule from what was seen, wherever the stretch began", () => {
    // Of 3.75 characters of a mean sentence, 0.75 are an a, 0.375 a c, 0.375 + 0.25 a b.
    expect(chances("")["b"]).toBeCloseTo((0.375 + 0.25) / 3.75, 12);
    expect(chances("a")).toEqual({ b: expect.closeTo(0.5, 12), c: expect.closeTo(0.5, 12) });
    expect(chances(". ")).toEqual({ a: expect.closeTo(0.75, 12), b: expect.closeTo(0.25, 12) });
    expect(chances("b")).toEqual({ ".": expect.closeTo(1, 12) });
  });

  it("has the entropy of a sentence over its mean length as its rate", () => {
    const sentence = -0.75 * Math.log(0.75) - 0.25 * Math.log(0.25) + 0.75 * Math.LN2;
    expect(text.entropyRate).toBeCloseTo(sentence / 3.75, 12);
  });
});
