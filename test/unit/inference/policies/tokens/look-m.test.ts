import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, readPrefix } from "../../../../../backend/inference/generate.ts";
import type { Prefix } from "../../../../../backend/inference/prefix.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

const { ready } = await kernelsHere();
const TOKENS = randomTokens(1, 40, 96, 5)[0]!;
let model: Model;
beforeAll(() => {
  model = randomModel(smallConfig());
});
afterAll(() => model.dispose());

/** Rows that a KV head of a prefix holds, by position. */
function rowsOf({ cache }: Prefix, layer: number, head: number): Map<number, { key: number[]; value: number[] }> {
  const { keys, values, positions } = cache.read(layer, 0, head);
  const [k, v] = [keys, values].map((t) => t.arraySync() as number[][]) as [number[][], number[][]];
  tf.dispose([keys, values]);
  return new Map(positions.map((position, i) => [position, { key: k[i]!, value: v[i]! }]));
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
const cosine = (a: readonly number[], b: readonly number[]): number => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

describe("look-m", () => {
  it("holds the means of each kept row and the rows most like it", async () => {
    const policies = [{ name: "look-m", params: { budget: 9, merge: "averaged" } }];
    const [dense, cut] = [
      await readPrefix(model, { tokens: TOKENS }),
      await readPrefix(model, { tokens: TOKENS, policies }),
    ];
    for (const [layer, head] of [
      [0, 1],
      [2, 0],
    ] as const) {
      // biome-ignore format: a table
      const [whole, kept] = [rowsOf(dense, layer, head), rowsOf(cut, layer, head)];
      const members = new Map([...kept.keys()].map((position) => [position, [position]]));
      for (const [position, { key }] of whole) {
        if (kept.has(position)) continue;
        const like = [...kept.keys()].map((own) => [cosine(key, whole.get(own)!.key), own] as const);
        members.get(like.toSorted((a, b) => b[0] - a[0])[0]![1])!.push(position);
      }
      for (const [position, { key, value }] of kept)
        for (const [part, row] of [["key", key], ["value", value]] as const) // biome-ignore format: a table
          row.forEach((x, c) => {
            const own = members.get(position)!.map((member) => whole.get(member)![part][c]!);
            expect(x).toBeCloseTo(own.reduce((a, b) => a + b, 0) / own.length, 4);
          });
    }
    for (const prefix of [dense, cut]) prefix.dispose();
  });

  it.runIf(ready).each([
    ["f16", 5e-3],
    ["q8", 0.05],
    ["q4", undefined], // its rounding may turn what goes
  ] as const)("merges in the form %s too", async (cache, tolerance) => {
    const options = { tokens: TOKENS, policies: [{ name: "look-m", params: { budget: 9, merge: "averaged" } }] };
    const [exact, under] = [await readPrefix(model, options), await readPrefix(model, { ...options, cache })];
    expect(under.cache.kind).toBe(cache);
    const [rows, own] = [rowsOf(exact, 0, 1), rowsOf(under, 0, 1)]; // what goes in later layers may differ with the rounding
    if (tolerance) {
      expect([...own.keys()]).toEqual([...rows.keys()]);
      for (const [position, { key, value }] of rows)
        for (const [x, y] of [...key, ...value].map((x, i) => [
          x,
          [...own.get(position)!.key, ...own.get(position)!.value][i]!,
        ]))
          expect(Math.abs(x! - y!)).toBeLessThan(tolerance);
    }
    const { cache: held } = await generate(model, { ...options, cache, maxTokens: 3 });
    expect(held.kept!.flat().every((positions) => positions.length === 11)).toBe(true);
    for (const prefix of [exact, under]) prefix.dispose();
  });
});
