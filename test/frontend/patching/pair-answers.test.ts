import { describe, expect, it } from "vitest";
import { answerText, readAnswer, readPairFile } from "../../../frontend/src/patching/pair/pairs.ts";

describe("the field of an answer", () => {
  it.each([
    [" Mary", true],
    [7, true],
    [7, false],
    [[" Mary", " Martha", 9], true],
    [[3, 4], false],
  ])("shows %j so that it reads as the same", (answer, textual) => {
    expect(readAnswer(answerText(answer, textual), textual)).toEqual(answer);
  });

  it("holds no answer where one of several is none", () => {
    expect(readAnswer("3 | x", false)).toBeUndefined();
    expect(readAnswer(" Mary | ", true)).toBeUndefined();
  });

  it("takes lists from a pair file, and no empty ones", () => {
    const pair = { clean: [1, 2], corrupt: [1, 3], answer: [2, 5], wrong: 3 };
    expect(readPairFile(JSON.stringify(pair))).toEqual([pair]);
    expect(() => readPairFile(JSON.stringify({ ...pair, wrong: [] }))).toThrow(/Pair 0/);
  });
});
