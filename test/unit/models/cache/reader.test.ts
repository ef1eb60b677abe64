import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import type { AttentionReader } from "../../../../backend/models/cache/reader.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { ForwardOptions } from "../../../../backend/models/forward/types.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

await kernelsHere();
const TOKENS = 200;
const LAYER = 1;
const [IDS] = randomTokens(1, TOKENS + 1, 96, 5) as [number[]];
let model: Model;
let cache: KvCache;

beforeAll(() => {
  model = randomModel({ ...smallConfig(), n_ctx: 256 });
  cache = new KvCache(model.config, { capacity: 256 });
  forward(model, { tokens: [IDS.slice(0, 100)], cache, logitsAt: "none" }).dispose();
});
afterAll(() => {
  cache.dispose();
  model.dispose();
});

/** Logits of tokens behind the first 100, which a cache holds. */
function logits(tokens: readonly number[], options: ForwardOptions): Float32Array {
  const own = cache.fork();
  const result = forward(model, { tokens: [tokens], cache: own }, options);
  const numbers = result.logits!.dataSync().slice() as Float32Array;
  result.dispose();
  own.dispose();
  return numbers;
}

/** The same in the plain forward, where one layer's queries do not see some keys. @param hidden for a query's and a key's position and a head */
function masked(count: number, hidden: (query: number, key: number, head: number) => boolean): Float32Array {
  const hide = (scores: Tensor): Tensor => {
    const [, heads, queries, keys] = scores.shape as [number, number, number, number];
    const mask = tf.buffer([1, heads, queries, keys], "float32");
    for (let h = 0; h < heads; h++)
      for (let q = 100; q < queries; q++) for (let k = 0; k <= q; k++) if (hidden(q, k, h)) mask.set(-1e30, 0, h, q, k);
    return tf.tidy(() => tf.add(scores, mask.toTensor()));
  };
  const hooks = [[`blocks.${LAYER}.attn.hook_attn_scores`, hide]] as const;
  const logitsAt = Array.from({ length: count }, (_, i) => 100 + i);
  const result = forward(model, { tokens: [IDS.slice(0, 100 + count)], logitsAt }, { hooks });
  const numbers = result.logits!.dataSync().slice() as Float32Array;
  result.dispose();
  return numbers;
}

const furthest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

/** One by the kernels, one by plain tensors: looks at scores take that way. */
const ways = [
  ["where the pages lie", {}],
  ["from plain tensors", { names: [`blocks.${LAYER}.attn.hook_attn_scores`] }],
] as const;

describe("a reader of attention", () => {
  it.each(ways)("lets new tokens read chosen spans alone, %s", (_, options) => {
    const reader: AttentionReader = {
      reaches: (layer) => layer === LAYER,
      choose: ({ cache, spansOf }) => {
        const heads = cache.windows[LAYER]!.map((_, g) => {
          const spans = spansOf(0, g);
          const [page, row, , count] = spans.subarray(-4) as unknown as [number, number, number, number];
          const own = spans.length === 4 ? [page, row + 90, 90, count - 90] : [...spans.subarray(-4)];
          return Int32Array.of(spans[0]!, spans[1]! + 3 * (g + 1), 3 * (g + 1), 2, ...own);
        });
        return { spans: [heads] };
      },
    };
    const group = model.config.n_heads / model.config.n_key_value_heads;
    const visible = (key: number, g: number): boolean => (key >= 3 * (g + 1) && key < 3 * (g + 1) + 2) || key >= 90;
    const seen = logits(IDS.slice(100, 101), { ...options, reader });
    expect(
      furthest(
        seen,
        masked(1, (_, key, head) => !visible(key, Math.floor(head / group))),
      ),
    ).toBeLessThan(5e-4);
    expect(
      furthest(
        seen,
        masked(1, () => false),
      ),
    ).toBeGreaterThan(5e-4);
  });

  it.each(ways)("lets new tokens read chosen squares, and those of their own positions, %s", (_, options) => {
    const { n_heads } = model.config;
    const own = (query: number): number => Math.floor((100 + 64 * Math.floor((query - 100) / 64)) / 64);
    const read = (head: number, down: number, across: number): boolean => (head + down + across) % 2 === 0;
    const reader: AttentionReader = {
      reaches: (layer) => layer === LAYER,
      choose: ({ tokens: { tokens, starts } }) => {
        const [down, across] = [Math.ceil(tokens / 64), Math.ceil((starts[0]! + tokens) / 64)];
        const squares = tf.buffer([n_heads, down, across], "bool");
        for (let h = 0; h < n_heads; h++)
          for (let d = 0; d < down; d++) for (let a = 0; a < across; a++) squares.set(read(h, d, a), h, d, a);
        return { blocks: squares.toTensor() };
      },
    };
    const seen = logits(IDS.slice(100, TOKENS), { ...options, reader });
    const hidden = (query: number, key: number, head: number): boolean => {
      const across = Math.floor(key / 64);
      return across < own(query) && !read(head, Math.floor((query - 100) / 64), across);
    };
    expect(furthest(seen, masked(TOKENS - 100, hidden))).toBeLessThan(5e-4);
    expect(
      furthest(
        seen,
        masked(TOKENS - 100, () => false),
      ),
    ).toBeGreaterThan(5e-4);
  });

  it("leaves no tensor and no page", () => {
    const before = tf.memory().numTensors;
    const reader: AttentionReader = {
      reaches: () => true,
      choose: ({ spansOf, cache }) => ({ spans: [cache.windows[0]!.map((_, g) => spansOf(0, g))] }),
    };
    const all = logits(IDS.slice(100, 103), { reader });
    expect(furthest(all, logits(IDS.slice(100, 103), {}))).toBeLessThan(5e-4);
    expect(tf.memory().numTensors).toBe(before);
  });
});
