import type { Tensor } from "@tensorflow/tfjs";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../../../backend/common/random.ts";
import { CACHE_KINDS } from "../../../../backend/common/words.ts";
import { hasKernels } from "../../../../backend/kernels/kernels.ts";
import { pageBytes } from "../../../../backend/kernels/pages.ts";
import { KvCache } from "../../../../backend/models/cache/kv-cache.ts";
import { heldRuns, positionsOf, slotOf } from "../../../../backend/models/cache/window.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import type { Window } from "../../../../backend/models/transformer/attention.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

await initBackend();
let model: Model;
beforeAll(() => {
  model = randomModel(smallConfig());
});

afterEach(() => expect(pageBytes(), "pages that nobody let go").toBe(0));

describe("slots of a streaming head", () => {
  it("hold exactly the sinks and the recent positions, each in its slot", () => {
    for (const window of [
      { sink: 0, recent: 1 },
      { sink: 2, recent: 3 },
      { sink: 4, recent: 5 },
    ]) {
      for (let length = 0; length < 40; length++) {
        const runs = heldRuns(length, window);
        const wanted = Array.from({ length }, (_, p) => p).filter(
          (p) => p < window.sink || p >= length - window.recent,
        );
        expect(positionsOf(runs).sort((a, b) => a - b)).toEqual(wanted);
        for (const { slot, position, count } of runs)
          for (let i = 0; i < count; i++) expect(slotOf(position + i, window)).toBe(slot + i);
      }
    }
  });
});

describe("ring buffers against the masked full forward", () => {
  const window: Window = { sink: 2, recent: 5 };
  const windows = [
    [undefined, window],
    [window, window],
    [window, undefined],
  ];

  it("agree at every offset of the wrap-around, after prefills of every length", () => {
    const total = 26;
    const tokens = randomTokens(1, total, 96);
    const whole = forward(model, { tokens, windows });
    for (let prefill = 1; prefill < total - 1; prefill++) {
      const cache = new KvCache(model.config, { capacity: 32, windows });
      const first = forward(model, { tokens: [tokens[0]!.slice(0, prefill)], cache });
      expect(
        maxDifference(first.logits!, whole.logits!.slice([0, 0, 0], [1, prefill, 96])),
        `prefill ${prefill}`,
      ).toBeLessThan(3e-4);
      first.dispose();
      for (let t = prefill; t < total; t++) {
        const step = forward(model, { tokens: [[tokens[0]![t]!]], cache });
        expect(
          maxDifference(step.logits!, whole.logits!.slice([0, t, 0], [1, 1, 96])),
          `prefill ${prefill}, token ${t}`,
        ).toBeLessThan(3e-4);
        step.dispose();
      }
      cache.dispose();
    }
  });

  it("agree over several chunks of prefill, and for the op-by-op path", () => {
    const tokens = randomTokens(1, 40, 96, 3);
    const whole = forward(model, { tokens, windows });
    for (const captured of [true, false]) {
      const cache = new KvCache(model.config, { capacity: 64, windows });
      for (const [from, to] of [
        [0, 3],
        [3, 16],
        [16, 17],
        [17, 40],
      ] as const) {
        const part = forward(model, { tokens: [tokens[0]!.slice(from, to)], cache }, { captured });
        expect(
          maxDifference(part.logits!, whole.logits!.slice([0, from, 0], [1, to - from, 96])),
          `${captured} ${from}`,
        ).toBeLessThan(3e-4);
        part.dispose();
      }
      cache.dispose();
    }
  });

  it("are all that a dense prefill keeps once its heads stream", () => {
    const tokens = randomTokens(1, 40, 96, 4);
    const full = new KvCache(model.config);
    forward(model, { tokens: [tokens[0]!.slice(0, 30)], cache: full, logitsAt: "none" }).dispose();
    const cut = full.streaming(windows);
    for (const [layer, row] of windows.entries())
      for (const [head, own] of row.entries()) {
        const wanted = Array.from({ length: 30 }, (_, p) => p).filter((p) => !own || p < 2 || p >= 25);
        expect(cut.positions(layer, 0, head)).toEqual(wanted);
        expect(rowsAt(cut, [layer, 0, head], wanted)).toEqual(rowsAt(full, [layer, 0, head], wanted));
      }
    full.dispose();
    forward(model, { tokens: [tokens[0]!.slice(30)], cache: cut, logitsAt: "none" }).dispose();
    expect(cut.positions(0, 0, 1)).toEqual([0, 1, 35, 36, 37, 38, 39]);
    cut.dispose();
  });
});

/** Keys and values of some positions of a head, by position. */
function rowsAt(cache: KvCache, [layer, row, head]: [number, number, number], wanted: readonly number[]): number[][] {
  const { keys, values, positions } = cache.read(layer, row, head);
  const [k, v] = [keys, values].map((t) => t.arraySync() as number[][]) as [number[][], number[][]];
  tf.dispose([keys, values]);
  expect(k).toHaveLength(positions.length);
  return wanted.map((position) => [...k[positions.indexOf(position)]!, ...v[positions.indexOf(position)]!]);
}

describe("memory", () => {
  const windows = [
    [undefined, { sink: 2, recent: 5 }],
    [
      { sink: 2, recent: 5 },
      { sink: 2, recent: 5 },
    ],
    [{ sink: 2, recent: 5 }, undefined],
  ];

  it("grows with the tokens, to sink and recent slots only where a head streams, and is freed", () => {
    const before = tf.memory().numTensors;
    const cache = new KvCache(model.config, { windows });
    expect(cache.bytes).toBe(0);
    forward(model, { tokens: randomTokens(1, 20, 96), cache }).dispose();
    const few = cache.bytes;
    const perSlot = cache.storage.rowBytes;
    expect(few).toBe((2 * 32 + 4 * 7) * perSlot);
    expect(cache.bytesFull).toBe(6 * 32 * perSlot);
    forward(model, { tokens: randomTokens(1, 600, 96), cache }).dispose();
    expect(cache.bytes).toBe((2 * 640 + 4 * 7) * perSlot);
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("holds no more than the capacity, which the context is by default", () => {
    const cache = new KvCache(model.config, { capacity: 8 });
    const tokens = randomTokens(1, 9, 96);
    expect(() => forward(model, { tokens, cache })).toThrow(expect.objectContaining({ kind: "input" }));
    expect(new KvCache(model.config).capacity).toBe(1200);
    expect(cache.bytes).toBe(0);
  });
});

/** Logits of a row's last token after these, in a cache of its own. */
function alone(ids: readonly number[]): Tensor {
  return forward(model, { tokens: [ids], logitsAt: "last" }).logits!;
}

function step(cache: KvCache, ids: readonly (readonly number[])[]): Tensor {
  return forward(model, { tokens: ids, cache, logitsAt: "last" }).logits!;
}

describe("forks", () => {
  it("go their own ways from a shared beginning, of any length, without a copy until one writes", () => {
    const [ids] = randomTokens(1, 300, 96, 8) as [number[]];
    for (const shared of [1, 16, 100, 128, 200]) {
      const cache = new KvCache(model.config);
      step(cache, [ids.slice(0, shared)]).dispose();
      const [a, b] = [cache.fork(), cache.fork(0)];
      step(a, [[3]]).dispose();
      step(b, [[4, 5, 6]]).dispose();
      cache.dispose();
      expect(maxDifference(step(a, [[7]]), alone([...ids.slice(0, shared), 3, 7])), `${shared}`).toBeLessThan(3e-4);
      expect(maxDifference(step(b, [[8]]), alone([...ids.slice(0, shared), 4, 5, 6, 8])), `${shared}`).toBeLessThan(
        3e-4,
      );
      a.dispose();
      b.dispose();
    }
  });

  it("of rings do not disturb one another", () => {
    const windows = [0, 1, 2].map(() => [{ sink: 1, recent: 6 }, undefined]);
    const [ids] = randomTokens(1, 40, 96, 9) as [number[]];
    const masked = (row: number[]): Tensor => forward(model, { tokens: [row], windows, logitsAt: "last" }).logits!;
    const cache = new KvCache(model.config, { windows });
    step(cache, [ids.slice(0, 20)]).dispose();
    const fork = cache.fork();
    step(fork, [ids.slice(20)]).dispose();
    expect(maxDifference(step(cache, [[5]]), masked([...ids.slice(0, 20), 5]))).toBeLessThan(3e-4);
    expect(maxDifference(step(fork, [[5]]), masked([...ids, 5]))).toBeLessThan(3e-4);
    cache.dispose();
    fork.dispose();
  });
});

describe("rows", () => {
  it("of several caches go on side by side, are taken out and end by themselves", () => {
    const rows = [21, 3, 140].map((length, i) => randomTokens(1, length, 96, 20 + i)[0]!);
    const caches = rows.map((ids) => {
      const cache = new KvCache(model.config);
      step(cache, [ids]).dispose();
      return cache;
    });
    const before = caches.reduce((sum, { bytes }) => sum + bytes, 0);
    const joined = KvCache.join(caches);
    expect(joined.bytes).toBe(before);
    expect(joined.lengths).toEqual([21, 3, 140]);
    expect(caches.map(({ rows }) => rows)).toEqual([0, 0, 0]);
    const check = (cache: KvCache, ids: readonly (readonly number[])[], wholes: readonly number[][]): void => {
      const made = step(cache, ids);
      wholes.forEach((whole, r) => {
        expect(maxDifference(tf.slice(made, [r, 0, 0], [1, 1, 96]), alone(whole)), `row ${r}`).toBeLessThan(3e-4);
      });
    };
    check(
      joined,
      [[1], [2], [3]],
      [
        [...rows[0]!, 1],
        [...rows[1]!, 2],
        [...rows[2]!, 3],
      ],
    );
    joined.take([2, 1]);
    check(
      joined,
      [[4], [5]],
      [
        [...rows[2]!, 3, 4],
        [...rows[1]!, 2, 5],
      ],
    );
    joined.truncate([100, 2]);
    expect(joined.lengths).toEqual([100, 2]);
    check(
      joined,
      [[6, 7], [8]],
      [
        [...rows[2]!.slice(0, 100), 6, 7],
        [...rows[1]!.slice(0, 2), 8],
      ],
    );
    joined.dispose();
  });

  it("are refused where there are none, or where caches are not alike", () => {
    const one = new KvCache(model.config);
    const other = new KvCache(model.config, { windows: [0, 1, 2].map(() => [undefined, { sink: 1, recent: 4 }]) });
    const usage = expect.objectContaining({ kind: "usage" });
    expect(() => KvCache.join([one, other])).toThrow(usage);
    expect(() => KvCache.join([one, one])).toThrow(usage);
    expect(() => KvCache.join([])).toThrow(usage);
    for (const rows of [[1], [0, 0], [-1], []]) expect(() => one.take(rows)).toThrow(usage);
    expect(() => one.fork(1)).toThrow(usage);
    expect(() => one.read(3, 0, 0)).toThrow(usage);
  });

  it("are not taken back to what a ring has let go", () => {
    const cache = new KvCache(model.config, { windows: [0, 1, 2].map(() => [undefined, { sink: 1, recent: 4 }]) });
    step(cache, [[1, 2, 3, 4]]).dispose();
    cache.truncate(3);
    step(cache, [[5, 6, 7]]).dispose();
    expect(() => cache.truncate(3)).toThrow(expect.objectContaining({ kind: "unsupported" }));
    expect(cache.lengths).toEqual([6]);
    cache.dispose();
  });
});

/** Logits of the last of some tokens, with a mask over keys for each layer and KV head: the plain forward, by its scores. */
function withKeys(
  ids: readonly number[],
  sees: (layer: number, head: number, key: number, query: number) => boolean,
): Tensor {
  const n = ids.length;
  const hooks = [0, 1, 2].map((layer) => {
    const values = Float32Array.from({ length: 6 * n * n }, (_, i) =>
      sees(layer, Math.floor(i / n / n / 3), i % n, Math.floor(i / n) % n) ? 0 : -1e9,
    );
    const mask = tf.tensor4d(values, [1, 6, n, n]);
    return [`blocks.${layer}.attn.hook_attn_scores`, (scores: Tensor) => tf.add(scores, mask)] as const;
  });
  return forward(model, { tokens: [ids], logitsAt: "last" }, { hooks }).logits!;
}

describe("an eviction", () => {
  it("leaves any list of positions, which later queries see and no others: as the masked forward", () => {
    const random = new Random(3);
    for (const length of [9, 130, 300]) {
      const [ids] = randomTokens(1, length + 12, 96, length) as [number[]];
      const cache = new KvCache(model.config);
      step(cache, [ids.slice(0, length)]).dispose();
      const kept = [0, 1, 2].map(() =>
        [0, 1].map(() => Array.from({ length }, (_, p) => p).filter(() => random.uniform() < 0.3)),
      );
      const before = cache.bytes;
      for (const [layer, heads] of kept.entries())
        for (const [head, positions] of heads.entries()) cache.evict(layer, 0, head, positions);
      if (length > 100) expect(cache.bytes).toBeLessThan(before * 0.75);
      expect(cache.positions(1, 0, 1)).toEqual(kept[1]![1]);
      const sees = (layer: number, head: number, key: number, query: number): boolean =>
        query < length || key >= length || kept[layer]![head]!.includes(key);
      step(cache, [ids.slice(length, length + 5)]).dispose();
      const fork = cache.fork();
      for (const own of [cache, fork]) {
        step(own, [[ids[length + 5]!]]).dispose();
        const last = step(own, [ids.slice(length + 6)]);
        expect(maxDifference(last, withKeys(ids, sees)), `${length}`).toBeLessThan(3e-4);
        own.dispose();
      }
    }
  });

  it("again and again, from rings too, keeps each position's own key and value", () => {
    const random = new Random(5);
    const windows = [0, 1, 2].map(() => [undefined, { sink: 3, recent: 140 }]);
    const [ids] = randomTokens(1, 420, 96, 31) as [number[]];
    const [cache, whole] = [{ windows }, {}].map((options) => new KvCache(model.config, options)) as [KvCache, KvCache];
    step(cache, [ids.slice(0, 100)]).dispose();
    step(whole, [ids.slice(0, 100)]).dispose();
    let seen = 100;
    for (let round = 0; round < 6; round++) {
      for (const head of [0, 1]) {
        const kept = cache.positions(0, 0, head).filter(() => random.uniform() < 0.6);
        cache.evict(0, 0, head, kept);
        expect(cache.positions(0, 0, head)).toEqual(kept);
        // The same numbers up to rounding: the two caches may have been filled by other kernels.
        const [own, wanted] = [cache, whole].map((of) => rowsAt(of, [0, 0, head], kept).flat()) as [number[], number[]];
        for (const [i, value] of own.entries()) expect(value).toBeCloseTo(wanted[i]!, 4);
      }
      const more = random.integer(1, 60);
      for (const own of [cache, whole]) step(own, [ids.slice(seen, seen + more)]).dispose();
      seen += more;
    }
    expect(() => cache.evict(0, 0, 0, [seen])).toThrow(expect.objectContaining({ kind: "usage" }));
    cache.dispose();
    whole.dispose();
  });
});

describe.skipIf(!hasKernels())("kinds", () => {
  const errors = { f32: 0, f16: 1e-3, q8: 1e-2, q4: 0.2 };

  it.each(CACHE_KINDS)("%s holds rows near those of float32, and moves them as they are", (kind) => {
    const before = pageBytes();
    const [ids] = randomTokens(1, 150, 96, 41) as [number[]];
    const windows = [0, 1, 2].map(() => [undefined, { sink: 2, recent: 9 }]);
    const [cache, exact] = [kind, "f32" as const].map((own) => new KvCache(model.config, { kind: own })) as [
      KvCache,
      KvCache,
    ];
    for (const own of [cache, exact]) step(own, [ids]).dispose();
    const all = ids.map((_, p) => p);
    const [rows, wanted] = [cache, exact].map((own) => rowsAt(own, [0, 0, 1], all)) as [number[][], number[][]];
    const most = Math.max(...wanted.flat().map(Math.abs));
    for (const [r, row] of rows.entries())
      for (const [i, value] of row.entries())
        expect(Math.abs(value - wanted[r]![i]!)).toBeLessThanOrEqual(errors[kind] * most);
    const cut = cache.streaming(windows);
    const fork = cache.fork();
    const odd = all.filter((p) => p % 2 === 1);
    fork.evict(0, 0, 1, odd);
    for (const [own, kept] of [
      [cut, [0, 1, ...all.slice(-9)]],
      [fork, odd],
    ] as const) {
      expect(own.positions(0, 0, 1)).toEqual(kept);
      expect(rowsAt(own, [0, 0, 1], kept)).toEqual(kept.map((p) => rows[p]));
    }
    const again = cache.fork();
    const [a, b] = [cache, again].map((own) => step(own, [[5]]));
    expect(maxDifference(a!, b!)).toBe(0);
    for (const made of [cache, exact, cut, fork, again]) made.dispose();
    expect(pageBytes()).toBe(before);
  });

  it("take fewer bytes", () => {
    const bytes = CACHE_KINDS.map((name) => {
      const cache = new KvCache(smallConfig({ d_head: 64 }), { kind: name });
      cache.prepare(512);
      const held = cache.bytes;
      cache.dispose();
      return held / (6 * 512 * 2);
    });
    expect(bytes).toEqual([256, 128, 68, 40]);
  });
});

describe("hooks during generation", () => {
  it("see what the full forward shows, captured and op by op", () => {
    const tokens = randomTokens(1, 12, 96, 5);
    const names = [
      "blocks.1.attn.hook_pattern",
      "blocks.2.attn.hook_z",
      "blocks.0.mlp.hook_post",
      "blocks.2.hook_resid_post",
    ];
    const whole = forward(model, { tokens }, { names });
    for (const hooked of [false, true]) {
      const cache = new KvCache(model.config, { capacity: 32 });
      forward(model, { tokens: [tokens[0]!.slice(0, 8)], cache }).dispose();
      for (let t = 8; t < 12; t++) {
        const step = forward(
          model,
          { tokens: [[tokens[0]![t]!]], cache },
          { names, ...(hooked ? { hooks: [[() => true, () => undefined]] } : {}) },
        );
        const pattern = whole.activations.get(names[0]!)!.slice([0, 0, t, 0], [1, 6, 1, t + 1]);
        expect(maxDifference(step.activations.get(names[0]!)!, pattern)).toBeLessThan(1e-4);
        for (const name of names.slice(1)) {
          const full = whole.activations.get(name)!;
          const size = [1, 1, ...full.shape.slice(2)];
          expect(
            maxDifference(step.activations.get(name)!, full.slice([0, t, ...size.slice(2).map(() => 0)], size)),
            name,
          ).toBeLessThan(5e-4);
        }
        step.dispose();
      }
      cache.dispose();
    }
  });
});

describe("a long cache", () => {
  it.each([
    ["all heads full", undefined],
    [
      "some heads streaming",
      [
        [undefined, { sink: 2, recent: 5 }],
        [undefined, undefined],
        [{ sink: 2, recent: 5 }, undefined],
      ],
    ],
  ])("gives the logits of the whole: %s", (_, windows) => {
    const [prefix, total] = [1014, 1030];
    const tokens = randomTokens(1, total, 96, 11);
    const cache = new KvCache(model.config, windows ? { windows } : {});
    forward(model, { tokens: [tokens[0]!.slice(0, prefix)], cache, logitsAt: "none" }).dispose();
    const steps: Tensor[] = [];
    for (let t = prefix; t < total; t++)
      steps.push(forward(model, { tokens: [[tokens[0]![t]!]], cache, logitsAt: "last" }).logits!);
    cache.dispose();
    const plain = new KvCache(model.config, windows ? { windows } : {});
    const whole = forward(
      model,
      { tokens, cache: plain, logitsAt: steps.map((_, i) => prefix + i) },
      { captured: false },
    );
    plain.dispose();
    expect(maxDifference(tf.concat(steps, 1), whole.logits!)).toBeLessThan(5e-4);
  });
});
