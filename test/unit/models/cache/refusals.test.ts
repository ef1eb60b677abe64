import { afterEach, describe, expect, it } from "vitest";
import { pageBytes } from "../../../../backend/kernels/pages.ts";
import { KvCache, type KvCacheOptions } from "../../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { ForwardInput } from "../../../../backend/models/forward/types.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

await initBackend();
const model = randomModel(smallConfig());
const [tokens] = randomTokens(1, 40, 96) as [number[]];

afterEach(() => expect(pageBytes(), "pages that nobody let go").toBe(0));

/** A cache for the length of a test. */
function withCache(options: KvCacheOptions, use: (cache: KvCache) => void, config = model.config): void {
  const cache = new KvCache(config, options);
  try {
    use(cache);
  } finally {
    cache.dispose();
  }
}

function run(cache: KvCache, from: number, to: number, input: Partial<ForwardInput> = {}): void {
  forward(model, { tokens: [tokens.slice(from, to)], cache, logitsAt: "none", ...input }).dispose();
}

describe("a cache that a forward can't go on from is refused, and stays as it is", () => {
  const others = {
    "KV heads": smallConfig({ n_key_value_heads: 3 }),
    "width of heads": smallConfig({ d_head: 16, rotary_dim: 16 }),
    "fewer layers": smallConfig({ n_layers: 2 }),
    "more layers": smallConfig({ n_layers: 4 }),
  };

  for (const [what, config] of Object.entries(others))
    it(`that of a model with other ${what}`, () => {
      const use = (cache: KvCache) => {
        for (const count of [1, 20])
          expect(() => run(cache, 0, count)).toThrow(expect.objectContaining({ kind: "usage" }));
        expect([cache.lengths, cache.bytes]).toEqual([[0], 0]);
      };
      withCache({}, use, config);
    });

  it("one with fewer layers than are run", () => {
    withCache({ layers: 2 }, (cache) => {
      expect(() => run(cache, 0, 3)).toThrow(expect.objectContaining({ kind: "usage" }));
      run(cache, 0, 3, { stopLayer: 2 });
      run(cache, 3, 4, { stopLayer: 2 });
      expect(cache.lengths).toEqual([4]);
    });
  });

  it("one whose upper layers have not seen the tokens that its lower ones have", () => {
    withCache({}, (cache) => {
      run(cache, 0, 3);
      run(cache, 3, 5, { stopLayer: 1 });
      expect(() => run(cache, 5, 6)).toThrow(expect.objectContaining({ kind: "usage" }));
      expect(() => cache.read(2, 0, 0)).toThrow(expect.objectContaining({ kind: "usage" }));
      cache.truncate(3);
      run(cache, 3, 6);
      expect(cache.lengths).toEqual([6]);
    });
  });

  it("one that was disposed, and what is none", () => {
    const gone = new KvCache(model.config);
    gone.dispose();
    for (const cache of [gone, {} as KvCache, null as never])
      expect(() => run(cache, 0, 3)).toThrow(expect.objectContaining({ kind: "usage" }));
  });

  it("one whose rings a forward that failed has written over", () => {
    const windows = [1, 2, 3].map(() => [{ sink: 1, recent: 6 }, undefined]);
    withCache({ windows }, (cache) => {
      run(cache, 0, 10);
      const cancelled = (layer: number) => {
        if (layer === 2) throw new Error("cancelled");
      };
      const input = { tokens: [tokens.slice(10, 15)], cache };
      expect(() => forward(model, input, { onLayer: cancelled })).toThrow("cancelled");
      expect(() => run(cache, 10, 11)).toThrow(expect.objectContaining({ kind: "usage" }));
    });
  });

  it("while one without rings goes on where it was", () => {
    const whole = forward(model, { tokens: [tokens.slice(0, 12)], logitsAt: "last" });
    withCache({}, (cache) => {
      run(cache, 0, 10);
      const cancelled = () => {
        throw new Error("cancelled");
      };
      expect(() => forward(model, { tokens: [[1, 2, 3]], cache }, { onLayer: cancelled })).toThrow("cancelled");
      const last = forward(model, { tokens: [tokens.slice(10, 12)], cache, logitsAt: "last" });
      expect(maxDifference(last.logits!, whole.logits!)).toBeLessThan(3e-4);
      last.dispose();
    });
    whole.dispose();
  });
});

describe("lengths to go back to", () => {
  it("are whole numbers, one for every row", () => {
    withCache({ rows: 2 }, (cache) => {
      forward(model, { tokens: [tokens.slice(0, 5), tokens.slice(0, 3)], cache }).dispose();
      for (const length of [-1, 1.5, Number.NaN, [], [1], [1, -1], [1, 2, 3], undefined as never])
        expect(() => cache.truncate(length)).toThrow(expect.objectContaining({ kind: "usage" }));
      expect(cache.lengths).toEqual([5, 3]);
      cache.truncate([2, 3]);
      expect(cache.lengths).toEqual([2, 3]);
    });
  });
});

describe("heads wider than the kernels take", () => {
  const wide = smallConfig({ n_layers: 1, n_heads: 1, n_key_value_heads: 1, d_head: 1032 });

  it("are cached in plain numbers, and attend as without a cache", () => {
    const own = randomModel(wide);
    const whole = forward(own, { tokens: [tokens] });
    const use = (cache: KvCache) => {
      forward(own, { tokens: [tokens.slice(0, 39)], cache, logitsAt: "none" }).dispose();
      const last = forward(own, { tokens: [tokens.slice(39)], cache });
      expect(maxDifference(last.logits!, whole.logits!.slice([0, 39, 0], [1, 1, -1]))).toBeLessThan(1e-3);
      last.dispose();
    };
    withCache({}, use, wide);
    whole.dispose();
    own.dispose();
    expect(() => new KvCache(wide, { kind: "f16" })).toThrow(expect.objectContaining({ kind: "unsupported" }));
  });
});
