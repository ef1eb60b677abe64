import type { Tensor } from "@tensorflow/tfjs";
import { afterEach, describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { type AttentionCall, attend, attendWithPattern, readRows, writeRows } from "../../../backend/kernels/attend.ts";
import { bitsOf, type Coding, KeyRotation, MINIFLOATS, type MinifloatName } from "../../../backend/kernels/coding.ts";
import { useThreads } from "../../../backend/kernels/kernels.ts";
import { Page, pageBytes } from "../../../backend/kernels/pages.ts";
import { placesOf, type Span, slotsOf, spansOf } from "../../../backend/kernels/places.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { kernelsHere, relativeError } from "../../helpers/kernels/here.ts";
import { attentionOf } from "../../helpers/kernels/reference-attention.ts";
import { drawnInput, policyDefinitions } from "../../helpers/oracles/policies.ts";

const { ready, threads } = await kernelsHere();
const { seed, sections } = policyDefinitions();

const owned: { release(): void }[] = [];
afterEach(() => {
  for (const page of owned.splice(0)) page.release();
});

function own(page: Page): Page {
  owned.push(page);
  return page;
}

/** A page of rows in float32. @param keys, values [rows, d] */
function plainPage(d: number, keys: ArrayLike<number>, values: ArrayLike<number>): Page {
  const rows = keys.length / d;
  const page = own(Page.make("f32", d, rows));
  tf.tidy(() => {
    const [k, v] = [keys, values].map((x) => tf.tensor3d(Float32Array.from(x), [rows, 1, d])) as [Tensor, Tensor];
    const slots = slotsOf([[[{ page, row: 0, token: 0, count: rows }]]], rows);
    writeRows({ keys: k, values: v, layer: tf.scalar(0, "int32"), slots });
  });
  return page;
}

/** Rows of a page as they are read. */
function rowsOf(page: Page, row = 0, count = page.rows): { keys: Float32Array; values: Float32Array } {
  return tf.tidy(() => {
    const { keys, values } = readRows(spansOf([{ page, row, position: 0, count }]));
    return { keys: keys.dataSync() as Float32Array, values: values.dataSync() as Float32Array };
  });
}

const normals = (count: number, of: number): Float32Array => {
  const out = new Float32Array(count);
  new Random(of).fillNormal(out);
  return out;
};

/** Codings of every kind, for pages whose rows are a multiple of 32. */
const CODINGS: Coding[] = [
  ...([2, 3, 4, 6, 8] as const).map((bits): Coding => ({ codes: { book: "integers", bits }, keyGroup: 32, valueGroup: 32, halfScales: true })),
  ...(Object.keys(MINIFLOATS) as MinifloatName[]).map((format): Coding => ({ codes: { book: "floats", format }, keyGroup: 32, valueGroup: 16, halfScales: false })),
  ...([2, 3, 4] as const).map((bits): Coding => {
    const levels = Float32Array.from({ length: 2 ** bits }, (_, i) => Math.sin((i / (2 ** bits - 1) - 0.5) * 3));
    return { codes: { book: "levels", bits, keys: levels, values: levels }, keyGroup: 32, valueGroup: 1024, outliers: { keys: 1, values: 2 }, firstRows: 1, halfScales: true };
  }),
]; // biome-ignore format: a table

const nameOf = ({ codes }: Coding): string => `${codes.book} ${codes.book === "floats" ? codes.format : codes.bits}`;

describe.skipIf(!ready)("a page of codes by its definition in NumPy", () => {
  it("holds integers with scales by channel and by token, as KIVI does", () => {
    const { inputs, bits2, bits4 } = sections["kivi"]!;
    const [k, v] = ["k", "v"].map((name) => drawnInput(inputs[name]!, seed)) as [Float64Array, Float64Array];
    const [, T, d] = inputs["k"]!.shape as [number, number, number];
    const rows = 16; // whole groups of 4 before the last 5 of 22, and a multiple of 8
    for (const [bits, want] of [[2, bits2], [4, bits4]] as const)
      for (const head of [0, 1]) {
        const part = (x: Float64Array) => x.subarray(head * T * d, (head * T + rows) * d);
        const page = own(plainPage(d, part(k), part(v)).coded({ codes: { book: "integers", bits }, keyGroup: 4, valueGroup: 4, halfScales: false }));
        const { keys, values } = want as Record<"keys" | "values", { codes: number[][][]; scale: number[][][]; min: number[][][] }>;
        const restored = (of: typeof keys, group: (t: number, i: number) => [number, number]) =>
          Float64Array.from({ length: rows * d }, (_, at) => {
            const [t, i] = [Math.floor(at / d), at % d];
            const [a, b] = group(t, i);
            return of.codes[head]![t]![i]! * of.scale[head]![a]![b]! + of.min[head]![a]![b]!;
          });
        const got = rowsOf(page);
        expect(relativeError(got.keys, restored(keys, (t, i) => [Math.floor(t / 4), i]))).toBeLessThan(1e-6);
        expect(relativeError(got.values, restored(values, (t, i) => [t, Math.floor(i / 4)]))).toBeLessThan(1e-6);
      }
  }); // biome-ignore format: tables

  it("holds minifloats: the nearest one, halves to the even code, at most the largest", () => {
    const { x, rounded, grouped, inputs } = sections["minifloat"]! as unknown as {
      x: number[];
      rounded: Record<MinifloatName, number[]>;
      grouped: Record<MinifloatName, { scale: number; restored: number[] }>;
      inputs: Record<string, Parameters<typeof drawnInput>[0]>;
    };
    const y = drawnInput(inputs["y"]!, seed);
    for (const format of Object.keys(MINIFLOATS) as MinifloatName[]) {
      const { exponent, mantissa, bias, largest } = MINIFLOATS[format];
      expect(exponent).toBeGreaterThan(0);
      const most = 2 ** ((largest >> mantissa) - bias) * (1 + (largest % 2 ** mantissa) / 2 ** mantissa);
      // The largest float beside the numbers makes the scale 1.
      const inside = x.filter((n) => Math.abs(n) <= most);
      const numbers = new Float32Array(16 * 16);
      inside.forEach((n, i) => {
        numbers[16 * (i % 16) + (i < 16 ? 0 : 8)] = n;
        numbers[16 * (i % 16) + (i < 16 ? 1 : 9)] = most;
      });
      y.forEach((n, i) => {
        numbers[16 * 15 + i] = n;
      });
      numbers.fill(0, 16 * 15 + 8);
      const coding: Coding = { codes: { book: "floats", format }, keyGroup: 16, valueGroup: 8, halfScales: false };
      const { values } = rowsOf(own(plainPage(16, new Float32Array(256), numbers).coded(coding)));
      inside.forEach((n, i) => {
        if (i % 16 === 15) return;
        expect(values[16 * (i % 16) + (i < 16 ? 0 : 8)], `${format} ${n}`).toBe(rounded[format]![x.indexOf(n)]);
      });
      expect(relativeError(values.subarray(240, 248), grouped[format].restored)).toBeLessThan(1e-6);
    }
  });

  it("holds the nearest of levels, and outliers as they are, as KVQuant does", () => {
    type Side = { levels: number[]; codes: number[][][]; error: number };
    const { inputs, keys, values } = sections["kvquant"]! as unknown as { inputs: Record<string, Parameters<typeof drawnInput>[0]>; keys: Side; values: Side };
    const [G, T, d] = inputs["keys"]!.shape as [number, number, number];
    const rows = T - 1; // the first token is in no vector
    const all = [inputs["keys"]!, inputs["values"]!].map((input) => drawnInput(input, seed)) as [Float64Array, Float64Array];
    const levels = [keys, values].map((side) => Float32Array.from(side.levels)) as [Float32Array, Float32Array];
    const squares = [0, 0];
    const counts = [0, 0];
    for (let head = 0; head < G; head++) {
      const [k, v] = all.map((x) => x.subarray((head * T + 1) * d, (head + 1) * T * d)) as [Float64Array, Float64Array];
      const page = own(plainPage(d, k, v).coded({ codes: { book: "levels", bits: 2, keys: levels[0], values: levels[1] }, keyGroup: rows, valueGroup: d, outliers: { keys: 1, values: 1 }, halfScales: false }));
      const got = rowsOf(page);
      [k, v].forEach((x, side) => {
        const restored = [got.keys, got.values][side]!;
        const codes = [keys, values][side]!.codes[head]!;
        x.forEach((n, at) => {
          const code = codes[Math.floor(at / d) + 1]![at % d]!;
          if (code < 0) expect(restored[at]).toBe(n);
          else {
            squares[side]! += (restored[at]! - n) ** 2;
            counts[side]!++;
          }
        });
      });
    }
    [keys, values].forEach(({ error }, side) => {
      expect(Math.sqrt(squares[side]! / counts[side]!)).toBeCloseTo(error, 6);
    });
  }); // biome-ignore format: long calls
});

describe.skipIf(!ready)("a page of codes", () => {
  it.each(CODINGS.map((coding) => [nameOf(coding), coding] as const))("is read and attended to as it stands (%s)", (_, coding) => {
    for (const [d, rows, start] of [[64, 128, 30], [80, 64, 40], [20, 96, 5]] as const) {
      const [k, v] = [normals(rows * d, 1), normals(rows * d, 2)];
      const page = own(plainPage(d, k, v).coded(coding));
      const { keys, values } = rowsOf(page);
      const lost = relativeError(keys, k);
      expect(lost).toBeLessThan(bitsOf(coding.codes) < 4 ? 0.5 : 0.15);
      expect(rowsOf(page, 3, 17).values).toEqual(values.slice(3 * d, 20 * d));
      for (const tokens of [1, 3, 70]) {
        const positions = [Array.from({ length: tokens }, (_, t) => start + rows - 1 - tokens + t + 1)];
        const q = normals(tokens * 4 * d, 3);
        const spans = [{ row: 5, position: start + 5, count: rows - 9 }, { row: 0, position: 0, count: 3 }];
        const held = { spans, window: 50, sink: 2 };
        const want = attentionOf({ q, keys, values, positions, places: [[held]], heads: 4, d, scale: 0.2 });
        const call = callOf({ q, d, positions, spans: spans.map((span) => ({ ...span, page })), window: 50, sink: 2 });
        const { z, pattern } = attendWithPattern(call);
        expect(relativeError(z.dataSync(), want.z)).toBeLessThan(3e-6);
        expect(relativeError(pattern.dataSync(), want.pattern)).toBeLessThan(3e-6);
      }
    }
  }); // biome-ignore format: tables

  it("lies beside pages of other kinds in one list", () => {
    const d = 64;
    const [k, v] = [normals(128 * d, 1), normals(128 * d, 2)];
    const plain = plainPage(d, k, v);
    const pages = [plain, own(plain.coded(CODINGS[2]!)), own(plain.coded(CODINGS[5]!)), ...(["f16", "q8", "q4"] as const).map((kind) => {
      const page = own(Page.make(kind, d, 128));
      const slots = slotsOf([[[{ page, row: 0, token: 0, count: 128 }]]], 128);
      writeRows({ keys: tf.tensor3d(k, [128, 1, d]), values: tf.tensor3d(v, [128, 1, d]), layer: tf.scalar(0, "int32"), slots });
      return page;
    })];
    const rows = pages.map((page) => rowsOf(page));
    const [keys, values] = (["keys", "values"] as const).map((of) => Float32Array.from(rows.flatMap((row) => [...row[of]])));
    const order = [1, 3, 0, 5, 2, 4, 1];
    const spans = order.map((p, i) => ({ page: pages[p]!, row: 7 * i, position: 100 * i, count: 60 }));
    const held = { spans: order.map((p, i) => ({ row: 128 * p + 7 * i, position: 100 * i, count: 60 })) };
    for (const tokens of [1, 8, 20]) {
      const positions = [Array.from({ length: tokens }, (_, t) => 640 + t)];
      const q = normals(tokens * 4 * d, 3);
      const want = attentionOf({ q, keys: keys!, values: values!, positions, places: [[held]], heads: 4, d, scale: 0.2 });
      const z = attend(callOf({ q, d, positions, spans }));
      expect(relativeError(z.dataSync(), want.z)).toBeLessThan(3e-6);
    }
    const read = tf.tidy(() => readRows(spansOf(spans)).keys.dataSync());
    expect(read.subarray(0, 60 * d)).toEqual(rows[1]!.keys.subarray(0, 60 * d));
  }); // biome-ignore format: tables

  it("turns keys that lie before the rotation by the angles of their positions", () => {
    const [d, rows, rotary] = [32, 64, 16];
    const turns = Float32Array.from({ length: 300 * rotary }, (_, at) => {
      const [p, i] = [Math.floor(at / rotary), at % rotary];
      const angle = p / 10 ** (i % (rotary / 2));
      return 1.3 * (i < rotary / 2 ? Math.cos(angle) : Math.sin(angle)); // stretched, as YaRN does
    });
    const rotation = new KeyRotation(rotary, turns);
    const positions = Int32Array.from({ length: rows }, (_, t) => (t < 20 ? t : 100 + 3 * t));
    const fine: Coding = { codes: { book: "integers", bits: 8 }, keyGroup: rows, valueGroup: d, halfScales: false };
    // A channel that is one number before the rotation costs nothing.
    const before = normals(d, 9);
    const keys = Float32Array.from({ length: rows * d }, (_, at) => {
      const [t, i] = [Math.floor(at / d), at % d];
      if (i >= rotary) return before[i]!;
      const half = rotary / 2;
      const [cos, sin] = [0, half].map((of) => turns[positions[t]! * rotary + of + (i % half)]!) as [number, number];
      return i < half ? before[i]! * cos - before[i + half]! * sin : before[i]! * cos + before[i - half]! * sin;
    });
    const page = own(plainPage(d, keys, normals(rows * d, 2)).coded({ ...fine, rotation }, positions));
    rotation.dispose();
    expect(relativeError(rowsOf(page).keys, keys)).toBeLessThan(1e-6);
    expect(rowsOf(page, 17, 9).keys).toEqual(rowsOf(page).keys.slice(17 * d, 26 * d));
  });

  it("takes the bytes of its codes and scales, and is counted and freed", () => {
    const plain = plainPage(64, normals(128 * 64, 1), normals(128 * 64, 2));
    const before = pageBytes();
    for (const [bits, bytes] of [[2, 2], [3, 3], [4, 4], [6, 6], [8, 8]] as const) {
      const page = plain.coded({ codes: { book: "integers", bits }, keyGroup: 32, valueGroup: 32, halfScales: true });
      // Codes, and 32 bits for each 32 numbers; parts begin at lines of 64 bytes.
      expect(page.bytes).toBeGreaterThanOrEqual(2 * 128 * 64 * (bytes + 1) / 8);
      expect(page.bytes).toBeLessThanOrEqual(2 * 128 * 64 * (bytes + 1) / 8 + 4 * 64);
      expect(pageBytes()).toBe(before + page.bytes);
      page.release();
      expect(pageBytes()).toBe(before);
    }
  }); // biome-ignore format: a table

  it("can't be written, cut or read as bytes, and gives its rows to pages of numbers", () => {
    const plain = plainPage(32, normals(64 * 32, 1), normals(64 * 32, 2));
    const page = own(plain.coded({ ...CODINGS[2]! }));
    const usage = refused("usage");
    const write = { keys: tf.zeros([1, 1, 32]), values: tf.zeros([1, 1, 32]), layer: tf.scalar(0, "int32"), slots: slotsOf([[[{ page, row: 0, token: 0, count: 1 }]]], 1) };
    for (const use of [
      () => writeRows(write),
      () => page.copy(16),
      () => page.read(0, 1),
      () => page.fill(0, new Uint8Array(0)),
      () => page.copyRows(plain, { from: 0, to: 0, count: 1 }),
      () => page.coded(CODINGS[2]!),
    ])
      expect(use).toThrow(usage);
    const [copy, rows] = [own(page.copy()), rowsOf(page)];
    expect(rowsOf(copy)).toEqual(rows);
    plain.copyRows(page, { from: 9, to: 1, count: 30 });
    expect(rowsOf(plain, 1, 30).keys).toEqual(rows.keys.slice(9 * 32, 39 * 32));
  }); // biome-ignore format: long calls

  it("is refused for codings that can't be", () => {
    const plain = plainPage(32, normals(64 * 32, 1), normals(64 * 32, 2));
    const right = CODINGS[2]!;
    const levels = Float32Array.of(0, 1, 2, -1);
    const wrong: Partial<Coding>[] = [
      { codes: { book: "integers", bits: 5 as 4 } },
      { codes: { book: "levels", bits: 2, keys: levels, values: levels } },
      { codes: { book: "levels", bits: 8 as 4, keys: levels, values: levels } },
      { keyGroup: 0 },
      { keyGroup: 24 },
      { valueGroup: 0 },
      { outliers: { keys: 16, values: 0 } },
      { outliers: { keys: -1, values: 0 } },
      { firstRows: 33 },
      { firstRows: -1 },
      { rotation: { id: 12345 } as KeyRotation },
    ];
    for (const change of wrong) expect(() => plain.coded({ ...right, ...change }), JSON.stringify(change)).toThrow(refused("usage"));
    const rotation = new KeyRotation(32, new Float32Array(32 * 10));
    expect(() => plain.coded({ ...right, rotation }, new Int32Array(64).fill(10))).toThrow(refused("usage"));
    expect(() => plain.coded({ ...right, rotation }, new Int32Array(9))).toThrow(refused("usage"));
    rotation.dispose();
    expect(() => own(Page.make("f32", 32, 20)).coded({ ...right, keyGroup: 20 })).toThrow(refused("usage"));
  }); // biome-ignore format: a table

  it("is attended to with the same bits by every number of threads", () => {
    const plain = plainPage(64, normals(128 * 64, 1), normals(128 * 64, 2));
    const spans = CODINGS.map((coding, i) => ({ page: own(plain.coded(coding)), row: 0, position: 128 * i, count: 128 }));
    const last = 128 * CODINGS.length;
    const bytes = [1, 2, 5].map((count) => {
      useThreads(count);
      return [1, 70].map((tokens) => {
        const positions = [Array.from({ length: tokens }, (_, t) => last + t)];
        return Buffer.from(attend(callOf({ q: normals(tokens * 4 * 64, 3), d: 64, positions, spans })).dataSync().buffer);
      });
    });
    useThreads(threads);
    for (const run of bytes.slice(1)) expect(run.every((one, i) => one.equals(bytes[0]![i]!))).toBe(true);
  }); // biome-ignore format: long calls
});

describe.skipIf(!ready)("a row that stands for several tokens", () => {
  it("weighs as much as they do with its key and value, for every query, whatever its window", () => {
    const d = 32;
    const [k, v] = [normals(64 * d, 1), normals(64 * d, 2)];
    const page = plainPage(d, k, v);
    // Equal rows one after the other are what it stands for.
    const repeated = (x: Float32Array) => Float32Array.from({ length: (60 + 7) * d }, (_, at) => x[at < 60 * d ? at : 63 * d + (at % d)]!);
    const [keys, values] = [repeated(k), repeated(v)];
    const reference = { keys, values, heads: 4, d, scale: 0.4 };
    for (const cap of [undefined, 2])
      for (const tokens of [1, 6, 80]) {
        const positions = [Array.from({ length: tokens }, (_, t) => 60 + 7 + t)];
        const q = normals(tokens * 4 * d, 3);
        const places = [[{ spans: [{ row: 60, position: 0, count: 7 }, { row: 0, position: 7, count: 60 }], window: 20, sink: 7 }]];
        const want = attentionOf({ ...reference, q, positions, places, cap });
        const spans = [{ page, row: 0, position: 7, count: 60 }, { page, row: 63, position: -7, count: 1 }];
        const call = { ...callOf({ q, d, positions, spans, window: 20, sink: 0 }), scale: 0.4, cap };
        const { z, pattern } = attendWithPattern(call);
        expect(relativeError(z.dataSync(), want.z)).toBeLessThan(3e-6);
        // Its share of the pattern has no column.
        const columns = positions[0]!.at(-1)! + 1;
        for (let row = 0; row < tokens * 4; row++)
          expect(relativeError(pattern.dataSync().subarray(row * columns + 7, row * columns + 67), want.pattern.subarray(row * columns + 7, row * columns + 67))).toBeLessThan(3e-6);
      }
  }); // biome-ignore format: tables

  it("is one row, whose number is no less than 1", () => {
    const page = plainPage(32, normals(32 * 32, 1), normals(32 * 32, 2));
    const call = (position: number, count: number) => () => attend(callOf({ q: normals(4 * 32, 3), d: 32, positions: [[9]], spans: [{ page, row: 0, position, count }] }));
    for (const [position, count] of [[-1, 2], [-(2 ** 31), 1], [-3, 0]] as const) expect(call(position, count)).toThrow(refused("usage"));
    expect(call(-(2 ** 31 - 1), 1)().shape).toEqual([1, 4, 32]);
  }); // biome-ignore format: a table
});

/** A call of one sequence and one KV head. */
function callOf({ q, d, positions, spans, ...window }: { q: Float32Array; d: number; positions: number[][]; spans: Span[]; window?: number; sink?: number }): AttentionCall {
  const tokens = positions[0]!.length;
  return {
    ...placesOf([[[{ spans, ...window }]]]),
    q: tf.tensor3d(q, [tokens, q.length / tokens / d, d]),
    positions: tf.tensor2d(positions, undefined, "int32"),
    layer: tf.scalar(0, "int32"),
    scale: 0.2,
  };
} // biome-ignore format: a long line
