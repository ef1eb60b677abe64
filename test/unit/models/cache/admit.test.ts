import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

await kernelsHere();
const TOKENS = randomTokens(1, 12, 96, 5)[0]!;
/** Tokens that run first, and those that come in among them later. */
const FIRST = [0, 2, 5, 6, 9];
const LATER = [1, 3, 7, 8, 11];
let model: Model;
beforeAll(() => {
  model = randomModel(smallConfig());
});
afterAll(() => model.dispose());

const at = (places: readonly number[]): number[] => places.map((place) => TOKENS[place] ?? 0);

/** Logits of the tokens that come later, in the plain forward, where the first have seen one another alone. */
function masked(): Float32Array {
  const hide = (scores: Tensor) =>
    tf.tidy(() => {
      const hidden = tf.buffer([1, 1, 12, 12], "float32");
      const all = [...FIRST, ...LATER];
      for (let query = 0; query < 12; query++)
        for (let key = 0; key < query; key++)
          if (!(FIRST.includes(query) ? FIRST : all).includes(key)) hidden.set(-1e30, 0, 0, query, key);
      return tf.add(scores, hidden.toTensor());
    });
  const hooks = [[(name: string) => name.endsWith("hook_attn_scores"), hide]] as const;
  const result = forward(model, { tokens: [TOKENS], logitsAt: LATER }, { hooks });
  const logits = result.logits!.dataSync().slice() as Float32Array;
  result.dispose();
  return logits;
}

describe("tokens at places among those of a cache", () => {
  it.each([true, false])("see what is held before them, also where others follow (captured: %s)", (captured) => {
    const cache = new KvCache(model.config, { capacity: 32 });
    cache.advance(12);
    forward(model, { tokens: [at(FIRST)], cache, places: [FIRST], logitsAt: "none" }, { captured }).dispose();
    expect(cache.positions(1, 0, 0)).toEqual(FIRST);
    const fork = cache.fork();
    const result = forward(model, { tokens: [at(LATER)], cache, places: [LATER] }, { captured });
    const logits = result.logits!.dataSync() as Float32Array;
    const furthest = masked().reduce((most, logit, i) => Math.max(most, Math.abs(logit - logits[i]!)), 0);
    expect(furthest).toBeLessThan(5e-4);
    result.dispose();
    expect(cache.positions(2, 0, 1)).toEqual([...FIRST, ...LATER].sort((a, b) => a - b));
    expect(cache.seen).toEqual([12]);
    expect(fork.positions(2, 0, 1)).toEqual(FIRST);
    for (const each of [cache, fork]) each.dispose();
  });

  it("are refused where a head holds them, the cache does not count them, or somebody looks at positions in order", () => {
    const cache = new KvCache(model.config, { capacity: 32 });
    cache.advance(12);
    const run = (places: number[], options: object = {}) =>
      forward(model, { tokens: [at(places)], cache, places: [places], logitsAt: "none" }, options).dispose();
    run(FIRST);
    for (const places of [[1, 2], [3, 12], [3, 1]]) expect(() => run(places)).toThrow(expect.objectContaining({ kind: "usage" })); // biome-ignore format: one line
    expect(() => run([1], { hooks: [["blocks.0.attn.hook_z", () => {}]] })).toThrow(/places/);
    expect(() => forward(model, { tokens: [[1]], places: [[0]] })).toThrow(/cache/);
    cache.dispose();
    const { n_layers, n_key_value_heads: kvHeads } = model.config;
    const windows = Array.from({ length: n_layers }, () => Array.from({ length: kvHeads }, () => ({ sink: 1, recent: 2 }))); // biome-ignore format: one line
    const streaming = new KvCache(model.config, { windows });
    streaming.advance(3);
    expect(() => forward(model, { tokens: [[1]], cache: streaming, places: [[0]] })).toThrow(/streaming/);
    streaming.dispose();
  });
});
