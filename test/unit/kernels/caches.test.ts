import type { Tensor } from "@tensorflow/tfjs";
import { afterEach, describe, expect, it } from "vitest";
import { CACHE_KINDS, type CacheKind } from "../../../backend/common/words.ts";
import { attend, type CacheWrite, readRows, writeRows } from "../../../backend/kernels/attend.ts";
import { Page, pageBytes } from "../../../backend/kernels/pages.ts";
import { placesOf, type Slots, type Span, slotsOf, spansOf } from "../../../backend/kernels/places.ts";
import { slotOf } from "../../../backend/models/cache/window.ts";
import { capture } from "../../../backend/runtime/capture.ts";
import type { Handle } from "../../../backend/runtime/ops.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";

const { ready } = await kernelsHere();
const D = 32;
const WINDOW = { sink: 2, recent: 6 };

const pages: Page[] = [];
afterEach(() => {
  for (const page of pages.splice(0)) page.release();
});

function make(kind: CacheKind, rows: number, d = D): Page {
  const page = Page.make(kind, d, rows);
  pages.push(page);
  return page;
}

const normal = (shape: number[], seed: number): Tensor => tf.randomNormal(shape, 0, 1, "float32", seed);

/** A write of tokens of one KV head. */
function write(tokens: number, slots: readonly Slots[], d = D): CacheWrite {
  const [keys, values] = [1, 2].map((seed) => normal([tokens, 1, d], seed)) as [Tensor, Tensor];
  return { keys, values, layer: tf.scalar(0, "int32"), slots: slotsOf([[slots]], tokens) };
}

describe.skipIf(!ready)("a page", () => {
  it("counts its bytes and its holders, and is freed with the last of them", () => {
    const before = pageBytes();
    for (const kind of CACHE_KINDS)
      for (const d of [5, 64, 80]) {
        const page = Page.make(kind, d, 300);
        expect(pageBytes()).toBe(before + page.bytes);
        page.retain();
        page.release();
        expect([page.holders, pageBytes()]).toEqual([1, before + page.bytes]);
        page.release();
        expect(pageBytes()).toBe(before);
      }
  });

  it("is refused for kinds, widths and rows that cannot be, and for memory that no machine has", () => {
    for (const [kind, width, rows] of [
      ["q5", 64, 8],
      ["f32", 0, 8],
      ["f32", 1025, 8],
      ["f32", 64, 0],
      ["f32", 64, 1.5],
      ["f32", 64, 2 ** 31],
    ] as const)
      expect(() => Page.make(kind as CacheKind, width, rows)).toThrow(refused("usage"));
    expect(() => Page.make("f32", 1024, 2 ** 31 - 1)).toThrow(refused("unsupported"));
  });

  it("that was freed can be neither held, freed, copied, written, read nor attended to", () => {
    const page = Page.make("f32", D, 4);
    page.release();
    const spans = [{ page, row: 0, position: 0, count: 1 }];
    const places = { positions: tf.tensor2d([[3]], undefined, "int32"), layer: tf.scalar(0, "int32") };
    for (const use of [
      () => page.retain(),
      () => page.release(),
      () => page.copy(),
      () => writeRows(write(1, [{ page, row: 0, token: 0, count: 1 }])),
      () => readRows(spansOf(spans)),
      () => attend({ q: tf.zeros([1, 1, D]), ...places, ...placesOf([[[{ spans }]]]), scale: 1 }),
    ])
      expect(use).toThrow(refused("usage"));
  });

  it("is copied with its rows, to fewer or more of them, and then goes its own way", () => {
    for (const kind of CACHE_KINDS) {
      const page = make(kind, 6);
      writeRows(write(6, [{ page, row: 0, token: 0, count: 6 }]));
      const read = (of: Page, count: number) =>
        Object.values(readRows(spansOf([{ page: of, row: 0, position: 0, count }]))).map((t) => t.dataSync());
      const copies = [6, 4, 9].map((rows) => page.copy(rows));
      pages.push(...copies);
      expect(read(copies[0]!, 6)).toEqual(read(page, 6));
      expect(read(copies[1]!, 4)).toEqual(read(page, 4));
      expect(read(copies[2]!, 6)).toEqual(read(page, 6));
      const old = read(page, 6);
      writeRows({ ...write(1, [{ page: copies[0]!, row: 2, token: 0, count: 1 }]), keys: tf.ones([1, 1, D]) });
      expect(read(page, 6)).toEqual(old);
      expect(read(copies[0]!, 6)).not.toEqual(old);
    }
  });

  it("gives its rows as they are held, and takes them into any page of its form", () => {
    for (const kind of CACHE_KINDS) {
      const [page, other] = [make(kind, 6), make(kind, 9)];
      writeRows(write(6, [{ page, row: 0, token: 0, count: 6 }]));
      expect(page.read(1, 4)).toHaveLength(2 * 4 * page.rowBytes);
      other.fill(3, page.read(1, 4));
      const read = (of: Page, row: number) =>
        Object.values(readRows(spansOf([{ page: of, row, position: 0, count: 4 }]))).map((t) => t.dataSync());
      expect(read(other, 3)).toEqual(read(page, 1));
      expect(other.read(3, 4)).toEqual(page.read(1, 4));
      for (const [row, bytes] of [[5, 2 * page.rowBytes * 5], [0, 3], [9, 2 * page.rowBytes], [-1, 0]] as const)
        expect(() => other.fill(row, new Uint8Array(bytes))).toThrow(refused("usage"));
      for (const [row, count] of [[6, 1], [0, 7], [0.5, 1], [0, -1], [2 ** 31, 1]] as const)
        expect(() => page.read(row, count)).toThrow(refused("usage"));
    }
  }); // biome-ignore format: tables
});

describe.skipIf(!ready)("a page whose keys have some channels alone", () => {
  const read = (page: Page, count: number): number[][][] =>
    Object.values(readRows(spansOf([{ page, row: 0, position: 0, count }]))).map((t) => t.arraySync() as number[][]);

  it("takes their memory, and reads the others as 0", () => {
    for (const kind of CACHE_KINDS)
      for (const [d, channels] of [[64, [0, 1, 5, 40, 63]], [20, [19]], [D, [...Array(D).keys()]]] as const) {
        const [whole, some] = [make(kind, 6, d), Page.make(kind, d, 6, channels)];
        pages.push(some);
        for (const page of [whole, some]) writeRows(write(6, [{ page, row: 0, token: 0, count: 6 }], d));
        const codes = kind === "q8" || kind === "q4";
        const number = kind === "f32" ? 4 : 2;
        const all = channels.length === d;
        if (!codes && !all) expect(whole.bytes - some.bytes).toBe(6 * (whole.rowBytes - number * channels.length));
        if (all) expect(some.bytes).toBe(whole.bytes);
        const [[keys, values], [all_, same]] = [read(some, 6), read(whole, 6)] as [number[][][], number[][][]];
        expect(values).toEqual(same);
        if (codes) continue; // other numbers share a scale
        expect(keys).toEqual(all_!.map((row) => row.map((x, c) => (channels.some((each) => each === c) ? x : 0))));
      }
  }); // biome-ignore format: tables

  it("gives rows to pages of all channels, and takes of theirs its own", () => {
    for (const kind of ["f32", "f16"] as const) {
      const channels = [1, 2, 7, 30];
      const [whole, back] = [make(kind, 6), make(kind, 6)];
      const some = Page.make(kind, D, 4, channels);
      const copy = some.copy(6);
      pages.push(some, copy);
      writeRows(write(6, [{ page: whole, row: 0, token: 0, count: 6 }]));
      some.copyRows(whole, { from: 2, to: 0, count: 4 });
      const [keys, values] = read(whole, 6) as [number[][], number[][]];
      const left = keys.slice(2).map((row) => row.map((x, c) => (channels.includes(c) ? x : 0)));
      expect(read(some, 4)).toEqual([left, values.slice(2)]);
      copy.copyRows(some, { from: 0, to: 2, count: 4 });
      back.copyRows(copy, { from: 2, to: 0, count: 4 });
      expect(read(back, 4)).toEqual([left, values.slice(2)]);
      const other = Page.make(kind, D, 4, [2, 3]);
      pages.push(other);
      other.copyRows(some, { from: 0, to: 0, count: 4 });
      expect(read(other, 4)[0]).toEqual(left.map((row) => row.map((x, c) => (c === 2 ? x : 0))));
      other.fill(0, some.read(0, 0));
      copy.fill(0, some.read(1, 3));
      expect(read(copy, 3)[0]).toEqual(left.slice(1));
    }
  });

  it("is refused for channels that a head has not, or that don't ascend", () => {
    for (const channels of [[], [D], [-1], [0.5], [1, 1], [2, 1]])
      expect(() => Page.make("f32", D, 4, channels)).toThrow(refused("usage"));
  });
});

describe.skipIf(!ready)("rows of a cache", () => {
  it("are read as they were written, wherever they lie, to the precision of their kind", () => {
    for (const kind of CACHE_KINDS)
      for (const d of [1, 16, 20, 32, 100]) {
        const [a, b] = [make(kind, 5, d), make(kind, 9, d)];
        const call = write(
          8,
          [
            { page: a, row: 1, token: 0, count: 3 },
            { page: b, row: 7, token: 3, count: 2 },
            { page: b, row: 0, token: 5, count: 3 },
          ],
          d,
        );
        writeRows(call);
        const spans: Span[] = [
          { page: b, row: 0, position: 5, count: 3 },
          { page: a, row: 1, position: 0, count: 3 },
          { page: b, row: 7, position: 3, count: 2 },
        ];
        const order = tf.tensor1d([5, 6, 7, 0, 1, 2, 3, 4], "int32");
        const { keys, values } = readRows(spansOf(spans));
        const lost = { f32: 0, f16: 5e-4, q8: 5e-3, q4: 0.1 }[kind];
        for (const [got, want] of [
          [keys, call.keys],
          [values, call.values],
        ] as const) {
          expect(got.shape).toEqual([8, d]);
          const wanted = tf.gather(tf.reshape(want, [8, d]), order);
          expect(relativeError(got.dataSync(), wanted.dataSync()), `${kind} ${d}`).toBeLessThanOrEqual(lost);
        }
      }
  });

  it("that have no slot are not kept, and none is read of no spans", () => {
    const page = make("f32", 4);
    writeRows(write(4, [{ page, row: 0, token: 1, count: 1 }]));
    const { keys } = readRows(spansOf([{ page, row: 0, position: 0, count: 4 }]));
    expect(tf.any(tf.cast(tf.slice(keys, [1, 0], [3, D]), "bool")).dataSync()[0]).toBe(0);
    expect(readRows(spansOf([])).keys.size).toBe(0);
    expect(readRows(spansOf([{ page, row: 2, position: 0, count: 0 }])).keys.shape).toEqual([0, D]);
    expect(writeRows(write(0, [])).shape).toEqual([]);
  });

  it("are refused where they do not fit, and then none is written", () => {
    const usage = refused("usage");
    const [page, other] = [make("f32", 4), make("q8", 4)];
    const right = write(2, [{ page, row: 0, token: 0, count: 2 }]);
    const to = (...slots: Slots[]): Partial<CacheWrite> => ({ slots: slotsOf([[slots]], 2) });
    const one = (of: Page, row: number, token: number): Slots => ({ page: of, row, token, count: 1 });
    const changes: Partial<CacheWrite>[] = [
      to(one(page, 0, 0), one(page, 0, 1)), // two tokens in one slot
      to(one(page, 0, 0), one(page, 4, 1)),
      to(one(page, 0, 0), one(page, -1, 1)),
      { slots: tf.tensor4d([page.id, 0, 2 ** 31 - 1, 0], [1, 2, 1, 2], "int32") },
      { slots: tf.tensor4d([page.id, 0, -2, 0], [1, 2, 1, 2], "int32") },
      { slots: tf.zeros([1, 1, 1, 2], "int32") },
      { slots: tf.zeros([1, 2, 2, 2], "int32") },
      { slots: tf.zeros([0, 2, 1, 2], "int32") },
      { layer: tf.scalar(1, "int32") },
      { layer: tf.scalar(-1, "int32") },
      { layer: tf.tensor1d([0], "int32") },
      { keys: tf.ones([2, 1, 16]), values: tf.ones([2, 1, 16]) }, // not the page's width
      { values: tf.ones([2, 1, 16]) },
      { keys: tf.ones([2, D]) },
      { keys: tf.ones([2, 1, D], "int32") },
    ];
    for (const change of changes)
      expect(() => writeRows({ ...right, ...change }), JSON.stringify(Object.keys(change))).toThrow(usage);
    const span = { row: 0, position: 0, count: 4 };
    expect(Math.max(...readRows(spansOf([{ page, ...span }])).keys.dataSync())).toBe(0);
    expect(() => readRows(spansOf([{ page, ...span, row: 1 }]))).toThrow(usage);
    expect(() => readRows(spansOf([{ page, ...span, count: -1 }]))).toThrow(usage);
    const both = spansOf([
      { page, ...span },
      { page: other, ...span },
    ]);
    expect(readRows(both).keys.shape).toEqual([8, D]); // of two kinds
    expect(() => readRows(tf.zeros([1, 3], "int32"))).toThrow(usage);
  });
});

/** The spans of a streaming head after `length` tokens: the sink, and the ring's two parts. */
function ring(page: Page, length: number): Span[] {
  const { sink, recent } = WINDOW;
  const first = Math.max(sink, length - recent);
  const spans = [{ page, row: 0, position: 0, count: Math.min(length, sink) }];
  for (let position = first; position < length; ) {
    const row = slotOf(position, WINDOW);
    const count = Math.min(length - position, sink + recent - row);
    spans.push({ page, row, position, count });
    position += count;
  }
  return spans;
}

describe.skipIf(!ready)("a cache in pages", () => {
  it.each(CACHE_KINDS)("of %s is written and attended by one captured function, ring and full head alike", (kind) => {
    const [streaming, full] = [make(kind, 8), make(kind, 40)];
    const step = (...args: Handle[]): Tensor[] => {
      const [q, keys, values, slots, positions, lists, spans, layer] = args as Tensor[];
      const after = writeRows({ keys: keys!, values: values!, layer: layer!, slots: slots! });
      const places = { positions: positions!, layer: layer!, lists: lists!, spans: spans! };
      return [attend({ q: q!, ...places, after, scale: 0.2 })];
    };
    let f: ReturnType<typeof capture> | undefined;
    const seen: { k: Tensor; v: Tensor }[] = [];
    for (let length = 1; length <= 30; length++) {
      const of = (shape: number[], seed: number) => normal(shape, 100 * length + seed);
      const [q, k, v] = [of([1, 4, D], 1), of([2, D], 2), of([2, D], 3)];
      seen.push({ k, v });
      const heads = [
        { spans: ring(streaming, length) },
        { spans: [{ page: full, row: 0, position: 0, count: length }] },
      ];
      const places = placesOf([[heads]]);
      const at = length - 1;
      const rows = [
        [{ page: streaming, row: slotOf(at, WINDOW), token: 0, count: 1 }],
        [{ page: full, row: at, token: 0, count: 1 }],
      ];
      const inputs = [q, tf.reshape(k, [1, 2, D]), tf.reshape(v, [1, 2, D]), slotsOf([rows], 1)];
      inputs.push(tf.tensor2d([[at]], undefined, "int32"), places.lists, places.spans, tf.scalar(0, "int32"));
      // The first token is written by the recording, too: with the same rows, to the same places.
      f ??= capture(step, inputs, { name: "step", shapes: inputs.map((t, i) => (i === 6 ? [-1, 4] : t.shape)) });
      const z = f.run(inputs)[0]!;
      const error = relativeError(z.dataSync(), plain(q, seen, length).dataSync());
      expect(error, `${length} tokens`).toBeLessThan({ f32: 2e-6, f16: 2e-3, q8: 0.03, q4: 0.5 }[kind]);
    }
    f!.dispose();
  });
});

/** The same from all keys and values, with masks: query heads 0 and 1 stream. */
function plain(q: Tensor, seen: { k: Tensor; v: Tensor }[], length: number): Tensor {
  const heads = [0, 0, 1, 1].map((g, h) => {
    const rows = (all: Tensor[]) =>
      tf.concat(
        all.map((t) => tf.slice(t, [g, 0], [1, D])),
        0,
      );
    const inside = Array.from({ length }, (_, p) => g === 1 || p < WINDOW.sink || p >= length - WINDOW.recent);
    const scores = tf.matMul(
      tf.slice(q, [0, h, 0], [1, 1, D]).reshape([1, D]),
      rows(seen.map(({ k }) => k)) as never,
      false,
      true,
    );
    const masked = tf.add(tf.mul(scores, 0.2), tf.tensor2d([inside.map((yes) => (yes ? 0 : -1e9))]));
    return tf.matMul(tf.softmax(masked as never), rows(seen.map(({ v }) => v)) as never);
  });
  return tf.concat(heads, 0);
}
