import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { CACHE_KINDS, type CacheKind } from "../../../backend/common/words.ts";
import { type AttentionCall, attend, attendWithPattern, readRows, writeRows } from "../../../backend/kernels/attend.ts";
import { useThreads } from "../../../backend/kernels/kernels.ts";
import { Page } from "../../../backend/kernels/pages.ts";
import { placesOf, slotsOf, spansOf } from "../../../backend/kernels/places.ts";
import { heldRuns, positionsOf } from "../../../backend/models/cache/window.ts";
import { capture } from "../../../backend/runtime/capture.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";
import { PagedRows, withChannels } from "../../helpers/kernels/paged.ts";
import {
  type AttentionResult,
  attentionOf,
  type HeldRows,
  type Question,
} from "../../helpers/kernels/reference-attention.ts";

const { ready, threads } = await kernelsHere();

/** Shape of a question; what is left out is simple. */
interface Ask {
  heads?: number;
  d?: number;
  rows?: number;
  positions: number[][];
  places: HeldRows[][];
  cap?: number;
  sinks?: number[];
  blocks?: boolean[][][];
  kind?: CacheKind;
  seed?: number;
  pageRows?: number;
  /** Of the keys that are held. */
  channels?: readonly number[];
}

const paged: PagedRows[] = [];
afterEach(() => {
  for (const rows of paged.splice(0)) rows.release();
});
const layer = (): Tensor => tf.scalar(0, "int32");

function normal(count: number, seed: number): Float32Array {
  const out = new Float32Array(count);
  new Random(seed).fillNormal(out);
  return out;
}

/** Numbers to attend to, and the kernel's call. */
function ask({ heads = 3, d = 64, rows = 300, positions, places, cap, sinks, blocks, kind = "f32", ...rest }: Ask): {
  call: AttentionCall;
  question: Question;
  held: PagedRows;
} {
  const { seed = 1, pageRows, channels } = rest;
  const queries = positions.flat().length;
  const q = normal(queries * heads * d, seed);
  const whole = normal(rows * d, seed + 1);
  const [keys, values] = [withChannels(whole, d, channels), normal(rows * d, seed + 2)];
  const scale = 1 / Math.sqrt(d);
  const held = new PagedRows(kind, d, { keys: whole, values, pageRows, channels });
  paged.push(held);
  const call: AttentionCall = {
    q: tf.tensor3d(q, [queries, heads, d]),
    positions: tf.tensor2d(positions, undefined, "int32"),
    layer: layer(),
    ...placesOf([places.map((row) => row.map((place) => held.places(place)))]),
    scale,
    cap,
    sinks: sinks && tf.tensor1d(sinks),
    blocks: blocks && tf.tensor3d(blocks, undefined, "bool"),
  };
  return { call, question: { q, keys, values, positions, places, heads, d, scale, cap, sinks, blocks }, held };
}

/** The kernel's z and pattern beside those of float64, as relative errors. */
function errors(what: Ask): { z: number; pattern: number; want: AttentionResult } {
  const { call, question } = ask(what);
  const want = attentionOf(question);
  const got = attendWithPattern(call);
  expect(got.z.dataSync()).toEqual(attend(call).dataSync()); // the pattern costs no bit
  expect(got.pattern.shape).toEqual([
    question.positions.flat().length,
    question.heads,
    Math.max(...question.positions.flat()) + 1,
  ]);
  return {
    z: relativeError(got.z.dataSync(), want.z),
    pattern: relativeError(got.pattern.dataSync(), want.pattern),
    want,
  };
}

const full = (count: number, row = 0): HeldRows => ({ spans: [{ row, position: 0, count }] });

function check(what: Ask): void {
  const { z, pattern } = errors(what);
  expect(z).toBeLessThan(2e-6);
  expect(pattern).toBeLessThan(2e-6);
}

const count = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

describe.skipIf(!ready)("attention by places equals float64", () => {
  it("over full caches of every length about a piece's", () => {
    for (const count of [1, 3, 16, 127, 128, 129, 257])
      check({ positions: [[count - 1]], places: [[full(count)]], seed: count });
  });

  it("for every width of heads and several query heads a KV head", () => {
    for (const d of [1, 8, 16, 20, 32, 48, 64, 80, 96, 128, 256])
      for (const heads of [2, 4, 8, 10])
        check({ d, heads, positions: [[149]], places: [[full(150), full(150, 150)]], seed: d + heads });
  });

  it("over keys of some channels, as over those whose others are 0, for a few query tokens and many", () => {
    const random = new Random(3);
    for (const [d, share] of [[64, 0.5], [64, 0.8], [16, 0.5], [20, 0.9], [100, 0.05]] as const)
      for (const tokens of [1, 3, 70]) {
        const drawn = Array.from({ length: d }, (_, c) => c).filter(() => random.uniform() < share);
        const channels = drawn.length > 0 ? drawn : [d - 1];
        const positions = [Array.from({ length: tokens }, (_, t) => 140 + t)];
        check({ heads: 4, d, channels, positions, places: [[full(300), full(150, 150)]], seed: d + tokens });
      }
  }); // biome-ignore format: a table

  it("over keys of some channels beside whole ones, in every kind", () => {
    const channels = [0, 2, 3, 17, 40, 41, 63];
    for (const kind of CACHE_KINDS)
      for (const tokens of [1, 70]) {
        const sizes = { keys: normal(40 * 64, 7), values: normal(40 * 64, 8) };
        const [some, whole] = [channels, undefined].map((own) => new PagedRows(kind, 64, { ...sizes, channels: own }));
        paged.push(some!, whole!);
        const spans = [some!, whole!].flatMap((rows, i) => rows.places(full(40)).spans.map((span) => ({ ...span, position: 40 * i })));
        const { keys, values } = readRows(spansOf(spans));
        const q = normal(tokens * 2 * 64, 9);
        const positions = [Array.from({ length: tokens }, (_, t) => 79 + t)];
        const call = { q: tf.tensor3d(q, [tokens, 2, 64]), positions: tf.tensor2d(positions, undefined, "int32"), layer: layer() };
        const z = attend({ ...call, ...placesOf([[[{ spans }]]]), scale: 0.2 });
        const held = { keys: keys.dataSync() as Float32Array, values: values.dataSync() as Float32Array };
        const want = attentionOf({ q, ...held, positions, places: [[full(80)]], heads: 2, d: 64, scale: 0.2 });
        expect(relativeError(z.dataSync(), want.z), `${kind} ${tokens}`).toBeLessThan(5e-6);
      }
  }); // biome-ignore format: calls

  it("over keys of some channels, whatever is no number in rows that a query does not see", () => {
    const held = new PagedRows("f32", 64, { keys: normal(3 * 64, 1), values: normal(3 * 64, 2), channels: [1, 5, 9] });
    paged.push(held);
    const bad = { keys: tf.fill([1, 1, 64], Number.NaN), values: tf.ones([1, 1, 64]), layer: layer() };
    writeRows({ ...bad, slots: slotsOf([[[{ page: held.pages[0]!, row: 1, token: 0, count: 1 }]]], 1) });
    const call = { q: tf.ones([1, 1, 64]), positions: tf.tensor2d([[0]], undefined, "int32"), layer: layer() };
    const z = attend({ ...call, ...placesOf([[[held.places(full(1))]]]), scale: 1 });
    expect([...z.dataSync()].every(Number.isFinite)).toBe(true);
  });

  it("for 1 to 8 query tokens, each up to its own position", () => {
    for (let tokens = 1; tokens <= 8; tokens++)
      check({
        heads: 6,
        positions: [Array.from({ length: tokens }, (_, t) => 140 + t)],
        places: [[full(148), full(148, 150)]],
        seed: tokens,
      });
  });

  it("over rings at every offset, in any order of their rows", () => {
    const window = { sink: 4, recent: 12 };
    for (let length = 1; length < 45; length++) {
      const spans = positionsOf(heldRuns(length, window)).map((position, slot) => ({
        row: 20 + slot,
        position,
        count: 1,
      }));
      check({ heads: 2, d: 32, positions: [[length - 1]], places: [[{ spans }]], seed: length });
    }
  });

  it("over random lists of places, long and short, of several sequences and heads", () => {
    const random = new Random(11);
    for (let round = 0; round < 25; round++) {
      const place = (): HeldRows => {
        const spans = [];
        for (let position = 0; position < 200 && spans.length < 60; ) {
          position += random.integer(0, 6);
          const count = random.integer(1, round % 2 === 0 ? 3 : 40);
          spans.push({ row: random.integer(0, 300 - count), position, count });
          position += count;
        }
        return { spans };
      };
      const sequences = 1 + (round % 3);
      const tokens = 1 + (round % 4);
      check({
        heads: 4,
        d: 32,
        positions: Array.from({ length: sequences }, () =>
          Array.from({ length: tokens }, () => random.integer(20, 250)),
        ),
        places: Array.from({ length: sequences }, () => [place(), place()]),
        seed: round,
      });
    }
  });

  it("with windows and sinks in front of them, which several queries see from their own position", () => {
    for (const window of [1, 2, 17, 128, 400])
      for (const sink of [0, 1, 5])
        check({
          positions: [[196, 197, 198, 199]],
          places: [[{ ...full(200), window, sink }]],
          seed: window + sink,
        });
    for (const local of [1, 30, 198])
      check({
        positions: [[196, 197, 198, 199]],
        places: [[{ ...full(200), window: 12, sink: 4, local }]],
        seed: local,
      });
  });

  it("with soft caps, and with sinks as logits", () => {
    for (const cap of [0.3, 2, 50]) check({ positions: [[99, 100]], places: [[full(101)]], cap, seed: 5 });
    check({ positions: [[99, 100]], places: [[full(101)]], sinks: [-2, 0, 3], seed: 5 });
    const { want } = errors({ positions: [[99]], places: [[full(100)]], sinks: [20, 0, -20] });
    expect(want.pattern.slice(0, 100).reduce((a, b) => a + b, 0)).toBeLessThan(0.1);
  });

  it("with nothing to see: zeros, with a sink or without", () => {
    const places = [[{ spans: [] }, { spans: [{ row: 0, position: 50, count: 9 }] }]];
    for (const sinks of [undefined, [1, 2]]) {
      const { call } = ask({ heads: 2, positions: [[3]], places, ...(sinks ? { sinks } : {}) });
      const { z, pattern } = attendWithPattern(call);
      expect([...z.dataSync(), ...pattern.dataSync()].every((v) => v === 0)).toBe(true);
    }
  });

  it("where scores are large, and where keys hold the same place twice", () => {
    const { call, question } = ask({ positions: [[199]], places: [[full(200)]] });
    const scale = 8;
    const want = attentionOf({ ...question, scale });
    expect(relativeError(attend({ ...call, scale }).dataSync(), want.z)).toBeLessThan(2e-5);
    const span = { row: 3, position: 0, count: 5 };
    check({ positions: [[9]], places: [[{ spans: [span, span] }]] });
  });
});

describe.skipIf(!ready)("attention of many tokens by squares equals float64", () => {
  it("for chunks of every length about a square's, at the beginning and behind what is cached", () => {
    for (const tokens of [9, 16, 63, 64, 65, 130])
      for (const start of [0, 1, 64, 100])
        check({
          heads: 2,
          d: 32,
          positions: [count(start, start + tokens)],
          places: [[full(start + tokens)]],
          seed: tokens + start,
        });
  });

  it("for every width of heads and several query heads a KV head", () => {
    for (const d of [1, 6, 20, 64, 80, 256])
      for (const heads of [2, 6])
        check({ d, heads, positions: [count(80, 150)], places: [[full(150), full(150, 150)]], seed: d + heads });
  });

  it("with windows, sinks in front of them and local layers, which queries see from their own positions", () => {
    for (const [window, sink, local] of [
      [1, 0, 0],
      [17, 4, 0],
      [64, 70, 0],
      [0, 0, 1],
      [0, 0, 64],
      [20, 4, 90],
    ])
      check({
        ...{ heads: 2, d: 32, positions: [count(60, 290)], seed: window! + local! },
        places: [[{ ...full(290), window, sink, local }]],
      });
  });

  it("with soft caps, and with sinks as logits", () => {
    for (const cap of [0.3, 2, 50]) check({ positions: [count(20, 99)], places: [[full(99)]], cap, seed: 5 });
    check({ positions: [count(20, 99)], places: [[full(99)]], sinks: [-2, 0, 30], seed: 5 });
  });

  it("of several sequences, whose queries stand anywhere, over lists of many spans in any order", () => {
    const random = new Random(12);
    for (let round = 0; round < 12; round++) {
      const place = (): HeldRows => {
        const spans = Array.from({ length: random.integer(0, 50) }, () => {
          const count = random.integer(1, round % 2 === 0 ? 4 : 60);
          return { row: random.integer(0, 300 - count), position: random.integer(0, 250), count };
        });
        return { spans, ...(round % 3 === 0 ? { window: 60, sink: 9 } : {}) };
      };
      check({
        ...{ heads: 4, d: 32, seed: round, pageRows: random.integer(7, 300) },
        positions: [0, 1].map(() => Array.from({ length: 9 + 7 * round }, () => random.integer(0, 250))),
        places: [0, 1].map(() => [place(), place()]),
      });
    }
  });

  it("over a ring and the chunk behind it, as the heads that stream are prefilled", () => {
    const window = { sink: 4, recent: 12 };
    for (const [start, tokens] of [
      [3, 40],
      [16, 70],
      [29, 9],
      [100, 64],
    ] as const) {
      const ring = positionsOf(heldRuns(start, window)).map((position, slot) => ({
        row: 150 + slot,
        position,
        count: 1,
      }));
      const spans = [...ring, { row: 0, position: start, count: tokens }];
      check({
        ...{ heads: 2, d: 32, positions: [count(start, start + tokens)], seed: start },
        places: [[{ spans, window: window.recent, sink: window.sink }]],
      });
    }
  });

  it("where only some squares are read, of each head or of all", () => {
    const random = new Random(3);
    for (const [tokens, start] of [
      [260, 0],
      [100, 130],
      [5, 200],
      [70, 33],
    ] as const)
      for (const of of [1, 4]) {
        const [down, across] = [Math.ceil(tokens / 64), Math.ceil((start + tokens) / 64)];
        const row = () => Array.from({ length: across }, () => random.uniform() < 0.4);
        const blocks = Array.from({ length: of }, () => Array.from({ length: down }, row));
        check({
          ...{ heads: 4, d: 32, positions: [count(start, start + tokens)], blocks, seed: tokens },
          places: [[full(start + tokens), { ...full(start + tokens), window: 100 }]],
        });
      }
  });

  it("and does not look at squares that no query may see", () => {
    const rows = 1000;
    const positions = [count(rows - 64, rows)];
    for (const few of [{ local: 64 }, { window: 64, sink: 4 }]) {
      const places = [[{ ...full(rows), ...few }]];
      const { call, held } = ask({ heads: 1, rows, positions, places, pageRows: rows });
      const z = [...attend(call).dataSync()];
      // A look at a row that is no number shows: its weight of 0 times it is none either.
      const [page] = held.pages as [Page];
      page.fill(64 * 4, new Uint8Array(page.read(64 * 4, 64 * 8).length).fill(255));
      expect([...attend(call).dataSync()]).toEqual(z);
    }
  });
});

describe.skipIf(!ready)("a cache of fewer bits", () => {
  it.each(CACHE_KINDS)("(%s) takes the bytes that it says and is attended to as it is held", (kind) => {
    const d = 64;
    const places = [[full(300)]];
    const { call, question, held: at } = ask({ d, kind, positions: [[297, 298, 299]], places });
    const bits = { f32: 32, f16: 16, q8: 8.5, q4: 5 }[kind];
    expect(at.pages.map(({ bytes, rows }) => bytes / rows)).toEqual(at.pages.map(() => (2 * d * bits) / 8));
    const rows = (v: Float32Array) => held(kind, v, d);
    const want = attentionOf({ ...question, keys: rows(question.keys), values: rows(question.values) });
    expect(relativeError(attend(call).dataSync(), want.z)).toBeLessThan(2e-6);
    const many = ask({ d, kind, positions: [count(200, 300)], places });
    const wide = attentionOf({ ...many.question, keys: rows(question.keys), values: rows(question.values) });
    expect(relativeError(attend(many.call).dataSync(), wide.z)).toBeLessThan(2e-6);
    const lost = { f32: 2e-6, f16: 2e-3, q8: 2e-2, q4: 0.4 }[kind];
    expect(relativeError(attend(call).dataSync(), attentionOf(question).z)).toBeLessThan(lost);
  });

  it("takes heads of any width, filled up with zeros", () => {
    for (const name of CACHE_KINDS)
      for (const d of [5, 40]) {
        const { call, question, held: at } = ask({ d, rows: 50, kind: name, positions: [[49]], places: [[full(50)]] });
        const wide = name.startsWith("f") ? Math.ceil(d / 16) * 16 : Math.ceil(d / 32) * 32;
        const row = { f32: 4 * wide, f16: 2 * wide, q8: wide * 1.0625, q4: wide * 0.625 }[name];
        expect(at.pages[0]!.bytes).toBe(2 * at.pages[0]!.rows * row);
        const lost = { f32: 2e-6, f16: 2e-3, q8: 3e-2, q4: 0.5 }[name];
        expect(relativeError(attend(call).dataSync(), attentionOf(question).z)).toBeLessThan(lost);
      }
  });

  it("holds rows of zeros, and of one number", () => {
    for (const kind of ["q8", "q4"] as const)
      for (const value of [0, -3, 0.25]) {
        const rows = new Float32Array(4 * 32).fill(value);
        const same = new PagedRows(kind, 32, { keys: rows, values: rows });
        paged.push(same);
        const { call } = ask({ d: 32, positions: [[3]], places: [[full(4)]] });
        const z = attend({ ...call, ...placesOf([[[same.places(full(4))]]]) });
        expect(relativeError(z.dataSync(), new Float32Array(z.size).fill(value))).toBeLessThan(1e-3);
      }
  });
});

/** Rows as they come back from a cache: to half precision, or to codes of its scales. */
function held(kind: CacheKind, rows: Float32Array, d: number): Float32Array {
  if (kind === "f32") return rows;
  if (kind === "f16") return rows.map(toHalf);
  const out = new Float32Array(rows.length);
  for (let at = 0; at < rows.length; at += Math.min(32, d)) {
    const block = rows.subarray(at, at + 32);
    const [low, high] = [Math.min(...block), Math.max(...block)];
    const scale = toHalf(
      Math.fround(kind === "q8" ? Math.fround(Math.max(-low, high) / 127) : Math.fround(high - low) / 15),
    );
    const minimum = kind === "q8" ? 0 : toHalf(low);
    const [least, most] = kind === "q8" ? [-127, 127] : [0, 15];
    block.forEach((v, i) => {
      const code = Math.min(
        most,
        Math.max(least, roundEven(Math.fround(Math.fround(v - minimum) * Math.fround(1 / scale)))),
      );
      out[at + i] = code * scale + minimum;
    });
  }
  return out;
}

function roundEven(x: number): number {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

/** The nearest number of half precision, of those that are no subnormals. */
function toHalf(x: number): number {
  if (x === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(x))) - 10);
  return roundEven(x / unit) * unit;
}

describe.skipIf(!ready)("an attention call", () => {
  afterAll(() => useThreads(threads));

  it("has the same bits for every number of threads", () => {
    const { call } = ask({
      heads: 8,
      rows: 1000,
      positions: [[990, 995]],
      places: [[full(1000), { ...full(1000), window: 300 }]],
    });
    const { call: many } = ask({
      ...{ heads: 8, rows: 1000, positions: [count(800, 1000)] },
      places: [[full(1000), { ...full(1000), window: 300 }]],
    });
    const runs = [1, 2, 5].map((count) => {
      useThreads(count);
      return [call, many].flatMap((one) =>
        Object.values(attendWithPattern(one)).map((t) => Buffer.from(t.dataSync().buffer)),
      );
    });
    for (const run of runs.slice(1)) expect(run.every((bytes, i) => bytes.equals(runs[0]![i]!))).toBe(true);
  });

  it("runs inside a captured function, with lengths that differ from call to call", () => {
    const { call, question, held: at } = ask({ positions: [[199]], places: [[full(200)]] });
    const inputs = [call.q, call.positions, call.layer, call.lists, call.spans];
    const f = capture(
      (q, positions, layer, lists, spans) => {
        return [tf.mul(attend({ ...call, ...({ q, positions, layer, lists, spans } as AttentionCall) }), 2)];
      },
      inputs,
      { name: "attends", shapes: inputs.map((_, i) => (i === 4 ? [-1, 4] : undefined)) },
    );
    const twice = (z: Float64Array) => z.map((v) => 2 * v);
    expect(relativeError(f.run(inputs)[0]!.dataSync(), twice(attentionOf(question).z))).toBeLessThan(2e-6);
    const places = [
      [
        {
          spans: [
            { row: 5, position: 0, count: 7 },
            { row: 100, position: 7, count: 50 },
          ],
        },
      ],
    ];
    const other = placesOf([places.map((row) => row.map((place) => at.places(place)))]);
    const z = f.run([call.q, call.positions, call.layer, other.lists, other.spans])[0]!;
    expect(relativeError(z.dataSync(), twice(attentionOf({ ...question, places }).z))).toBeLessThan(2e-6);
    f.dispose();
  });

  it("leaves no tensor behind", () => {
    const { call } = ask({ positions: [[9]], places: [[full(10)]] });
    const before = tf.memory().numTensors;
    attend(call).dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it("is refused where its parts do not fit one another", () => {
    const what = { heads: 4, rows: 20, positions: [[9, 10]], places: [[full(10), full(10, 10)]], pageRows: 20 };
    const { call, held } = ask(what);
    const usage = refused("usage");
    const [gone, narrow] = [Page.make("f32", 64, 9), Page.make("f32", 32, 20)];
    gone.release();
    const { id } = held.pages[0]!;
    const span = (...numbers: number[]) => tf.tensor2d(numbers, [numbers.length / 4, 4], "int32");
    const list = (...numbers: number[]) => tf.tensor4d(numbers, [1, 1, numbers.length / 5, 5], "int32");
    const changes: Partial<Record<keyof AttentionCall, unknown>>[] = [
      { q: tf.zeros([2, 4, 0]) },
      { q: tf.zeros([2, 4, 1025]) },
      { q: tf.zeros([2, 4, 32]) }, // not the pages'
      { q: tf.zeros([2, 3, 64]) }, // no multiple of the KV heads
      { q: tf.zeros([3, 4, 64]) },
      { q: tf.zeros([2, 256]) },
      { positions: tf.tensor2d([[9, -1]], undefined, "int32") },
      { positions: tf.tensor2d([[9], [10]], undefined, "int32") },
      { positions: tf.tensor1d([9, 10], "int32") },
      { positions: tf.tensor2d([[9, 10]]) },
      { layer: tf.scalar(1, "int32") },
      { layer: tf.scalar(-1, "int32") },
      { layer: tf.tensor1d([0], "int32") },
      { lists: list(0, 3, 0, 0, 0, 1, 1, 0, 0, 0) },
      { lists: list(0, 1, -1, 0, 0, 1, 1, 0, 0, 0) },
      { lists: list(-1, 1, 0, 0, 0, 1, 1, 0, 0, 0) },
      { lists: list(0, 1, 0, 0, -1, 1, 1, 0, 0, 0) },
      { lists: tf.zeros([1, 2, 5], "int32") },
      { lists: tf.zeros([0, 1, 2, 5], "int32") },
      { spans: span(id, 0, 0, 10, id, 11, 0, 10) }, // ends behind the page
      { spans: span(id, 0, 0, 10, id, -1, 0, 10) },
      { spans: span(id, 0, -1, 10, id, 0, 0, 10) },
      { spans: span(id, 0, 0, -10, id, 0, 0, 10) },
      { spans: span(id, 0, 2 ** 31 - 1, 10, id, 0, 0, 10) },
      { spans: span(gone.id, 0, 0, 9, id, 0, 0, 10) },
      { spans: span(2 ** 31 - 1, 0, 0, 9, id, 0, 0, 10) },
      { spans: span(-1, 0, 0, 9, id, 0, 0, 10) },
      { spans: span(narrow.id, 0, 0, 10, narrow.id, 0, 0, 10) },
      { spans: tf.zeros([2, 3], "int32") },
      { sinks: tf.tensor1d([1, 2]) },
      { cap: -1 },
      { cap: Number.NaN },
      { scale: Number.POSITIVE_INFINITY },
    ];
    expect(attend(call).shape).toEqual([2, 4, 64]);
    for (const change of changes)
      expect(
        () => attend({ ...call, ...(change as Partial<AttentionCall>) }),
        JSON.stringify(Object.keys(change)),
      ).toThrow(usage);
    const far = { positions: tf.tensor2d([[9, 2 ** 30]], undefined, "int32") };
    expect(attend({ ...call, ...far }).shape).toEqual([2, 4, 64]);
    expect(() => attendWithPattern({ ...call, ...far })).toThrow(usage); // a column for each position
    for (const shape of [
      [2, 1, 1],
      [4, 2, 1],
      [4, 1, 2],
      [1, 1],
    ])
      expect(() => attend({ ...call, blocks: tf.zeros(shape, "bool") })).toThrow(usage);
    expect(() => attend({ ...call, blocks: tf.zeros([4, 1, 1], "int32") })).toThrow(usage);
    expect(attend({ ...call, blocks: tf.zeros([4, 1, 1], "bool") }).shape).toEqual([2, 4, 64]);
    narrow.release();
  });

  it("of no sequences gives nothing", () => {
    const { call } = ask({ positions: [[9]], places: [[full(10)]] });
    const none = {
      q: tf.zeros([0, 3, 64]),
      positions: tf.zeros([0, 1], "int32"),
      lists: tf.zeros([1, 0, 1, 5], "int32"),
    } as Partial<AttentionCall>;
    expect(attend({ ...call, ...none }).shape).toEqual([0, 3, 64]);
  });
});
