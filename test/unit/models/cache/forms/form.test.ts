import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { pageBytes } from "../../../../../backend/kernels/pages.ts";
import type { CacheForm } from "../../../../../backend/models/cache/forms/form.ts";
import { KvCache } from "../../../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { refused } from "../../../../helpers/errors.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

const { ready } = await kernelsHere();
const TOKENS = randomTokens(1, 700, 96, 5)[0]!;
let model: Model;
beforeAll(() => {
  model = randomModel(smallConfig({ d_head: 16, rotary_dim: 12, attn_scale: 0.25 }));
});
afterEach(() => expect(pageBytes(), "pages that nobody let go").toBe(0));

const FORMS: CacheForm[] = [
  { kind: "kivi", bits: 2, group: 32, recent: 100 },
  { kind: "kivi", bits: 4, group: 16, recent: 0 },
  { kind: "minifloat", format: "E2M1", group: 32, recent: 130 },
  { kind: "minifloat", format: "E4M3", group: 64, recent: 128 },
  { kind: "kvquant", bits: 3, outliers: 0.02, recent: 128 },
];
const NAMED = FORMS.map((form) => [`${form.kind} ${"bits" in form ? form.bits : form.format}`, form] as const);

/** A cache with the first tokens, in codes where it has a form. */
function readIn(form: CacheForm | undefined, count: number, kind: "f32" | "f16" = "f32"): KvCache {
  const cache = new KvCache(model.config, { form, kind });
  forward(model, { tokens: [TOKENS.slice(0, count)], cache, logitsAt: "none" }).dispose();
  cache.encode();
  return cache;
}

/** A plain cache with what another stands for. */
function plainOf(cache: KvCache): KvCache {
  const length = cache.lengths[0]!;
  const plain = readIn(undefined, length);
  tf.tidy(() => {
    for (let layer = 0; layer < cache.layers; layer++)
      for (let head = 0; head < 2; head++) {
        const { positions, ...rows } = cache.read(layer, 0, head);
        plain.evict(layer, 0, head, positions);
        plain.head(layer, 0, head).write(length, positions, rows);
      }
  });
  return plain;
}

function logitsOf(cache: KvCache, from: number, to: number) {
  const result = forward(model, { tokens: [TOKENS.slice(from, to)], cache });
  const logits = tf.clone(result.logits!);
  result.dispose();
  return logits;
}

describe.skipIf(!ready)("a cache in codes", () => {
  it.each(NAMED)("(%s) is attended to as plain tensors with the numbers that it stands for", (_, form) => {
    const cache = readIn(form, 600);
    const plain = plainOf(cache);
    expect(cache.bytes).toBeLessThan(plain.bytes);
    expect(cache.bytesFull).toBe(plain.bytesFull);
    for (const [from, to] of [[600, 601], [601, 606], [606, 700]] as const) {
      const [own, wanted] = [logitsOf(cache, from, to), logitsOf(plain, from, to)];
      expect(maxDifference(own, wanted), `${from} to ${to}`).toBeLessThan(2e-4);
      tf.dispose([own, wanted]);
    }
    // Whoever looks at the scores goes the plain path.
    const looks = { hooks: [["blocks.1.attn.hook_attn_scores", (x: unknown) => x]] } as Parameters<typeof forward>[2];
    const [forked, other] = [cache.fork(), cache.fork()];
    const seen = forward(model, { tokens: [[5, 9]], cache: forked }, looks);
    const unseen = forward(model, { tokens: [[5, 9]], cache: other });
    expect(maxDifference(seen.logits!, unseen.logits!)).toBeLessThan(2e-4);
    for (const each of [seen, unseen, cache, plain, forked, other]) each.dispose();
  }); // biome-ignore format: a table

  it("holds whole pages behind the recent tokens in codes, and the others as they came", () => {
    for (const recent of [0, 128, 300, 1000]) {
      const [cache, plain] = [readIn({ kind: "kivi", bits: 4, group: 32, recent }, 600), readIn(undefined, 600)];
      const pages = Math.max(0, Math.floor((600 - recent) / 128));
      const [own, wanted] = [cache.read(1, 0, 0), plain.read(1, 0, 0)];
      const rows = (from: number, count: number) => [own, wanted].map(({ keys }) => tf.slice(keys, [from, 0], [count, 16]));
      const [codes, exact] = rows(0, 128) as [typeof own.keys, typeof own.keys];
      expect(maxDifference(codes, exact) > 0).toBe(pages > 0);
      const [last, lastExact] = rows(128 * pages, 600 - 128 * pages) as [typeof own.keys, typeof own.keys];
      expect(maxDifference(last, lastExact)).toBe(0);
      const saved = plain.bytes - cache.bytes;
      expect(saved > 0).toBe(pages > 0);
      // 4 bits a number and 32 for each 32, of 32.
      if (pages > 0) expect(saved / (6 * pages * 128 * 16 * 4 * 2)).toBeCloseTo(1 - 5 / 32, 1);
      tf.dispose([own.keys, own.values, wanted.keys, wanted.values, codes, exact, last, lastExact]);
      cache.dispose();
      plain.dispose();
    }
  }); // biome-ignore format: long calls

  it("puts pages into codes as tokens come, with the same numbers however they came", () => {
    for (const form of FORMS.slice(0, 4)) {
      const [whole, slow] = [readIn(form, 520), readIn(form, 380)];
      for (let at = 380; at < 520; at++) {
        forward(model, { tokens: [[TOKENS[at]!]], cache: slow, logitsAt: "none" }).dispose();
        slow.encode();
      }
      expect(slow.bytes).toBe(whole.bytes);
      whole.dispose();
      slow.dispose();
    }
  });

  it("shares its pages with forks, joins with caches of the same form, and keeps its rows", () => {
    const form = FORMS[0]!;
    const [first, second] = [readIn(form, 300), readIn(form, 450)];
    const before = pageBytes();
    const fork = first.fork();
    expect(pageBytes()).toBe(before);
    const alone = logitsOf(fork, 300, 301);
    const joined = KvCache.join([first, second]);
    const both = forward(model, { tokens: [[TOKENS[300]!], [TOKENS[450]!]], cache: joined });
    const own = tf.slice(both.logits!, [0, 0, 0], [1, 1, 96]);
    expect(maxDifference(own, alone)).toBeLessThan(1e-5);
    joined.encode();
    joined.take([1]);
    expect(joined.lengths).toEqual([451]);
    const other = readIn(FORMS[1]!, 300);
    expect(() => KvCache.join([joined, other])).toThrow(refused("usage"));
    for (const each of [fork, joined, other, both]) each.dispose();
    tf.dispose([alone, own]);
  });

  it("can be shortened and cut inside of codes: what stays keeps the numbers that they stand for", () => {
    const form: CacheForm = { kind: "kivi", bits: 2, group: 32, recent: 0 };
    const cache = readIn(form, 600);
    const held = cache.read(0, 0, 1);
    cache.truncate(200);
    const shorter = cache.read(0, 0, 1);
    expect(maxDifference(shorter.keys, tf.slice(held.keys, [0, 0], [200, 16]))).toBe(0);
    logitsOf(cache, 200, 210).dispose();
    const longer = cache.read(0, 0, 1);
    expect(maxDifference(tf.slice(longer.values, [0, 0], [200, 16]), shorter.values)).toBe(0);
    const stay = Array.from({ length: 105 }, (_, i) => 2 * i);
    cache.evict(0, 0, 1, stay);
    const cut = cache.read(0, 0, 1);
    expect(cut.positions).toEqual(stay);
    expect(maxDifference(cut.keys, tf.gather(longer.keys, stay))).toBe(0);
    for (const { keys, values } of [held, shorter, longer, cut]) tf.dispose([keys, values]);
    cache.dispose();
  });

  it("codes what an eviction has left, keys before the rotation at their own positions", () => {
    for (const form of FORMS) {
      const cache = new KvCache(model.config, { form });
      forward(model, { tokens: [TOKENS.slice(0, 600)], cache, logitsAt: "none" }).dispose();
      const stay = Array.from({ length: 600 }, (_, p) => p).filter((p) => p % 7 !== 3 && p > 2);
      for (let layer = 0; layer < 3; layer++) for (let head = 0; head < 2; head++) cache.evict(layer, 0, head, stay);
      const exact = cache.read(2, 0, 0);
      cache.encode();
      const coded = cache.read(2, 0, 0);
      expect(coded.positions).toEqual(stay);
      const lost = maxDifference(coded.keys, exact.keys);
      expect(lost).toBeGreaterThan(0);
      expect(lost).toBeLessThan(form.kind === "kivi" && form.bits === 2 ? 3 : 1.5);
      const plain = plainOf(cache);
      const [own, wanted] = [logitsOf(cache, 600, 603), logitsOf(plain, 600, 603)];
      expect(maxDifference(own, wanted)).toBeLessThan(2e-4);
      tf.dispose([own, wanted, exact.keys, exact.values, coded.keys, coded.values]);
      cache.dispose();
      plain.dispose();
    }
  });

  it("holds the recent tokens in half precision where the cache does", () => {
    const [wide, narrow] = [readIn(FORMS[0], 300), readIn(FORMS[0], 300, "f16")];
    expect(narrow.bytes).toBeLessThan(wide.bytes);
    wide.dispose();
    narrow.dispose();
  });

  it("is refused in 8 or 4 bits already, in two forms, and leaves no tensor", () => {
    for (const kind of ["q8", "q4"] as const)
      expect(() => new KvCache(model.config, { kind, form: FORMS[0]! })).toThrow(refused("usage"));
    const before = tf.memory().numTensors;
    const cache = readIn(FORMS[4], 300);
    expect(() => cache.setForm(FORMS[0])).toThrow(refused("usage"));
    cache.setForm(FORMS[4]);
    cache.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe("a summary of a KV head", () => {
  it("weighs in the plain path and in the kernels as the tokens that it stands for, and goes with forks", () => {
    const plain = readIn(undefined, 40);
    const stay = Array.from({ length: 40 }, (_, p) => p).filter((p) => p < 4 || p > 20);
    // Equal tokens are what it stands for: they take the places of those that go.
    const same = plain.fork();
    for (let layer = 0; layer < 3; layer++)
      for (let head = 0; head < 2; head++) {
        const { keys, values } = plain.read(layer, 0, head);
        const gone = Array.from({ length: 17 }, (_, i) => 4 + i);
        const mean = (rows: typeof keys) => tf.mean(tf.gather(rows, gone), 0);
        const [key, value] = [mean(keys), mean(values)];
        plain.evict(layer, 0, head, stay);
        plain.head(layer, 0, head).setSummary({ key: tf.reshape(key, [1, 1, 16]), value: tf.reshape(value, [1, 1, 16]), weight: 17 });
        const repeated = (row: typeof key) => tf.tile(tf.reshape(row, [1, 16]), [17, 1]);
        same.head(layer, 0, head).write(40, gone, { keys: repeated(key), values: repeated(value) });
        tf.dispose([keys, values]);
      }
    expect(plain.summarises).toBe(true);
    const looks = { hooks: [["blocks.1.attn.hook_attn_scores", (x: unknown) => x]] } as Parameters<typeof forward>[2];
    for (const tokens of [[7], TOKENS.slice(40, 60)])
      for (const options of [{}, looks]) {
        const [own, other] = [plain.fork(), same.fork()];
        const [got, want] = [own, other].map((cache) => forward(model, { tokens: [tokens], cache }, options));
        expect(maxDifference(got!.logits!, want!.logits!)).toBeLessThan(2e-4);
        for (const each of [own, other, got!, want!]) each.dispose();
      }
    const { bytes } = plain;
    plain.head(0, 0, 0).setSummary(undefined);
    expect(plain.bytes).toBeLessThan(bytes);
    expect(() => plain.head(0, 0, 0).setSummary({ key: tf.zeros([1, 1, 16]), value: tf.zeros([1, 1, 16]), weight: 0 })).toThrow(refused("usage"));
    plain.dispose();
    same.dispose();
  }); // biome-ignore format: long calls
});
