import { afterAll, describe, expect, it } from "vitest";
import { loadKernels, useThreads } from "../../../backend/kernels/kernels.ts";
import { antidiagonalSums, lineSums, type PromptScores } from "../../../backend/kernels/prompt.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";
import { plainAntidiagonals, plainLines } from "../../helpers/kernels/prompt.ts";

const { ready } = await kernelsHere();

/** A prompt's queries and keys, behind some tokens. */
function drawn({ tokens, start = 0 }: { tokens: number; start?: number }): PromptScores {
  return {
    queries: tf.randomNormal([6, tokens, 40], 0, 2, "float32", 1),
    keys: tf.randomNormal([2, start + tokens, 40], 0, 1, "float32", 2),
    scale: 0.2,
  };
}

const PROMPTS = [{ tokens: 1 }, { tokens: 64 }, { tokens: 65 }, { tokens: 200 }, { tokens: 130, start: 77 }];

describe.skipIf(!ready)("sums of a prompt's attention", () => {
  const { threads } = loadKernels();
  afterAll(() => useThreads(threads));

  it.each(PROMPTS)("along columns and diagonals are those of the pattern (%o)", (prompt) => {
    const scores = drawn(prompt);
    for (const cap of [undefined, 2]) {
      const { byKey, byDistance } = lineSums({ ...scores, cap });
      const got = tf.stack([byKey, byDistance]).dataSync();
      expect(relativeError(got, plainLines(scores, cap).dataSync())).toBeLessThan(2e-6);
      expect([...got].reduce((sum, x) => sum + x, 0)).toBeCloseTo(2 * 6 * prompt.tokens, 2);
    }
  });

  it.each(PROMPTS)("along antidiagonals are those of plain tensors (%o)", (prompt) => {
    const scores = drawn(prompt);
    for (const tiles of [{ stride: 16, side: 64 }, { stride: 4, side: 64 }, { stride: 5, side: 15 }, { stride: 1, side: 1 }]) // biome-ignore format: one line
      expect(relativeError(antidiagonalSums({ ...scores, ...tiles }).dataSync(), plainAntidiagonals(scores, tiles).dataSync())).toBeLessThan(2e-6); // biome-ignore format: one line
  });

  it("have the same bits for any number of threads", () => {
    const scores = drawn({ tokens: 300, start: 20 });
    const runs = [1, 2, 5].map((count) => {
      useThreads(count);
      const { byKey, byDistance } = lineSums(scores);
      return [byKey, byDistance, antidiagonalSums({ ...scores, stride: 8, side: 64 })].map((sums) => sums.dataSync());
    });
    for (const run of runs.slice(1)) expect(run).toEqual(runs[0]);
  });

  it("are refused where queries, keys or tiles do not fit", () => {
    const scores = drawn({ tokens: 3 });
    const wide = { ...scores, keys: tf.zeros([2, 3, 41]) };
    const few = { ...scores, keys: tf.zeros([2, 2, 40]) };
    const heads = { ...scores, keys: tf.zeros([4, 3, 40]) };
    for (const wrong of [wide, few, heads, { ...scores, cap: -1 }, { ...scores, scale: Number.NaN }])
      expect(() => lineSums(wrong)).toThrow(refused("usage"));
    for (const tiles of [
      { stride: 3, side: 64 },
      { stride: 0, side: 64 },
      { stride: 16, side: 128 },
    ])
      expect(() => antidiagonalSums({ ...scores, ...tiles })).toThrow(refused("usage"));
  });
});
