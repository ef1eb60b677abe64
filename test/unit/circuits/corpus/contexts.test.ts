import { beforeAll, describe, expect, it } from "vitest";
import { headContexts } from "../../../../backend/circuits/corpus/contexts.ts";
import { runWithCache } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { toyInduction } from "../../../../backend/models/sources/constructed.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

const LENGTH = 21;
const tokens = randomTokens(5, LENGTH, 96);
const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** The patterns of a head [rows][query][key]. */
function patternsOf(layer: number, head: number): number[][][] {
  const name = `blocks.${layer}.attn.hook_pattern`;
  const { logits, cache } = runWithCache(model, tokens, { names: [name] });
  const patterns = (cache.get(name).arraySync() as number[][][][]).map((heads) => heads[head]!);
  logits!.dispose();
  cache.dispose();
  return patterns;
}

describe("contexts of heads in a corpus", () => {
  it("are the places of their largest attention beside the first token, one a row", async () => {
    const [found] = await headContexts(model, { heads: [{ layer: 1, head: 4 }], tokens, top: 3 });
    const best = patternsOf(1, 4).map((pattern, row) => {
      const entries = pattern.flatMap((weights, query) =>
        weights.flatMap((weight, key) => (key > 0 ? [{ row, query, key, weight }] : [])),
      );
      return entries.reduce((a, b) => (b.weight > a.weight ? b : a));
    });
    const expected = best.sort((a, b) => b.weight - a.weight).slice(0, 3);
    expect(found!.contexts).toEqual(expected.map(({ weight, ...place }) => ({ ...place, weight: expect.closeTo(weight, 5) }))); // biome-ignore format: one line
  });

  it("come with how far a head looks and how widely, as its whole patterns have it", async () => {
    const heads = [
      { layer: 2, head: 0 },
      { layer: 0, head: 3 },
    ];
    const found = await headContexts(model, { heads, tokens });
    const before = tf.memory().numTensors;
    await headContexts(model, { heads, tokens });
    expect(tf.memory().numTensors).toBe(before);
    heads.forEach(({ layer, head }, h) => {
      const queries = patternsOf(layer, head).flatMap((pattern) =>
        pattern.map((weights, query) => ({ weights, query })),
      );
      const { first, distance, entropy } = found[h]!;
      expect(first).toBeCloseTo(mean(queries.map(({ weights }) => weights[0]!)), 5);
      const far = queries.map(({ weights, query }) =>
        weights.reduce((sum, w, key) => sum + (key > 0 ? w * (query - key) : 0), 0),
      );
      expect(distance.mean).toBeCloseTo(mean(far) / (1 - first), 3);
      for (const { from, to, share } of distance.shares) {
        const inside = queries.map(({ weights, query }) =>
          weights.reduce((sum, w, key) => sum + (key > 0 && query - key >= from && query - key <= to ? w : 0), 0),
        );
        expect(share).toBeCloseTo(mean(inside) / (1 - first), 4);
      }
      expect(distance.shares.map(({ from, to }) => [from, to])).toEqual([[0, 0], [1, 1], [2, 2], [3, 4], [5, 8], [9, 16], [17, 32]]); // biome-ignore format: one line
      expect(distance.shares.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 5);
      const nats = queries.map(({ weights }) => weights.reduce((sum, w) => sum - (w > 0 ? w * Math.log(w) : 0), 0));
      const sorted = nats.toSorted((a, b) => a - b);
      expect(entropy.mean).toBeCloseTo(mean(nats), 4);
      expect(entropy.median).toBeCloseTo(sorted[(sorted.length - 1) / 2]!, 4);
      expect(entropy.shares.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 10);
      expect(entropy.shares.at(-1)!.to).toBeCloseTo(Math.log(LENGTH), 10);
    });
  });

  it("of the constructed circuit: a head looks one token back with all that it has", async () => {
    const toy = toyInduction();
    const rows = [Array.from({ length: 16 }, (_, i) => i)];
    const [previous] = await headContexts(toy, { heads: [{ layer: 0, head: 0 }], tokens: rows });
    expect(previous!.contexts[0]!.query - previous!.contexts[0]!.key).toBe(1);
    expect(previous!.distance.shares[1]!.share).toBeGreaterThan(0.9);
    expect(previous!.entropy.mean).toBeLessThan(0.1);
  });

  it.each([
    ["a head that there is not", { heads: [{ layer: 3, head: 0 }] }, "usage"],
    ["no head", { heads: [] }, "usage"],
    ["rows of different lengths", { tokens: [[1, 2, 3], [1, 2]] }, "input"],
    ["rows of one token", { tokens: [[1], [2]] }, "input"],
    ["no rows", { tokens: [] }, "input"],
    ["an option that there is not", { rows: 3 }, "usage"],
  ])("refuse %s", async (_, change, kind) => {
    await expect(headContexts(model, { heads: [{ layer: 0, head: 0 }], tokens, ...change })).rejects.toMatchObject({ kind }); // biome-ignore format: one line
  }); // biome-ignore format: one line
});
