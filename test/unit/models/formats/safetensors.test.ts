import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { HeadscopeError } from "../../../../backend/common/errors.ts";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import {
  encodeSafetensors,
  readSafetensors,
  type SafeTensor,
} from "../../../../backend/models/formats/safetensors/safetensors.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { mutate, seeded, withFile } from "../../../helpers/formats/files.ts";

const encode = (tensors: Record<string, SafeTensor>, metadata?: Record<string, string>) =>
  Buffer.concat([...encodeSafetensors(tensors, metadata)]);

/** A file with a header of our own wording. */
function handmade(header: string, dataBytes: number, length = Buffer.byteLength(header)): Buffer {
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(length));
  return Buffer.concat([start, Buffer.from(header), Buffer.alloc(dataBytes)]);
}
const entry = (begin: number, end: number, shape = [(end - begin) / 4]) =>
  `{"dtype":"F32","shape":[${shape}],"data_offsets":[${begin},${end}]}`;

describe("safetensors", () => {
  it("every dtype survives writing and reading, with shapes and metadata", async () => {
    const tensors: Record<string, SafeTensor> = {
      bytes: { dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 255) },
      f32: { dtype: "F32", shape: [2, 2], data: Float32Array.of(1.5, -0, Number.NEGATIVE_INFINITY, 1e-40) },
      f64: { dtype: "F64", shape: [1], data: Float64Array.of(Math.PI) },
      i32: { dtype: "I32", shape: [2], data: Int32Array.of(-5, 2 ** 31 - 1) },
      i64: { dtype: "I64", shape: [1], data: BigInt64Array.of(-(2n ** 62n)) },
      i8: { dtype: "I8", shape: [2], data: Int8Array.of(-128, 127) },
      bool: { dtype: "BOOL", shape: [1, 3], data: Uint8Array.of(1, 0, 1) },
      half: { dtype: "F16", shape: [3], data: Float32Array.of(0.5, -65504, 2 ** -24) },
      brain: { dtype: "BF16", shape: [2], data: Float32Array.of(1.5, -(2 ** 100)) },
      scalar: { dtype: "F32", shape: [], data: Float32Array.of(7) },
      none: { dtype: "F32", shape: [0, 4], data: new Float32Array(0) },
    };
    const metadata = { format: "headscope.test/1", note: "Grüße 😀" };
    await withFile("t.safetensors", encode(tensors, metadata), async (path) => {
      const read = await readSafetensors(path);
      expect(read.metadata).toEqual(metadata);
      expect(Object.fromEntries(read.tensors)).toEqual(tensors);
    });
  });

  it("writes what it read from Python's writer, tensor for tensor", async () => {
    const { tensors, metadata } = await readSafetensors(fixture("formats/quantised.safetensors"));
    expect(metadata).toEqual({ source: "gguf-py dequantize" });
    await withFile("again.safetensors", encode(Object.fromEntries(tensors), metadata), async (path) => {
      expect((await readSafetensors(path)).tensors).toEqual(tensors);
    });
  });

  it("is aligned: the header's end to 8 bytes, each tensor to its elements", () => {
    const bytes = encode({
      a: { dtype: "U8", shape: [1], data: Uint8Array.of(1) },
      b: { dtype: "F32", shape: [1], data: Float32Array.of(1) },
    });
    const length = Number(bytes.readBigUInt64LE(0));
    expect(length % 8).toBe(0);
    expect(JSON.parse(bytes.toString("utf8", 8, 8 + length)).b.data_offsets).toEqual([0, 4]);
  });

  it("refuses to write data that contradict shape or dtype", () => {
    expect(() => encode({ a: { dtype: "F32", shape: [2], data: Float32Array.of(1) } })).toThrow(RangeError);
    expect(() => encode({ a: { dtype: "I64", shape: [1], data: Float32Array.of(1) } })).toThrow(TypeError);
  });

  const cases: [string, Buffer, RegExp][] = [
    [
      "a header longer than the file",
      handmade("{}", 0, 10 ** 12),
      /header claims 1000000000000 bytes, and 2 are the most/,
    ],
    [
      "a header of 2^63 bytes",
      Buffer.concat([Buffer.from("ffffffffffffff7f", "hex"), Buffer.from("{}")]),
      /header claims/,
    ],
    ["a header that is no JSON", handmade("{nope}", 0), /not JSON/],
    ["a header that is no UTF-8", handmade("{}\xff", 0, 3), /not (UTF-8|JSON)/],
    [
      "an offset outside the file",
      handmade(`{"w":${entry(0, 400)}}`, 8),
      /tensor "w" ends at byte \d+, and the file has/,
    ],
    ["weights cut short", handmade(`{"w":${entry(0, 16)}}`, 12), /tensor "w" ends at byte/],
    ["overlapping tensors", handmade(`{"v":${entry(0, 8)},"w":${entry(4, 12)}}`, 12), /"v" and "w" overlap at byte/],
    ["a hole", handmade(`{"v":${entry(0, 4)},"w":${entry(8, 12)}}`, 12), /4 bytes before tensor "w" belong to none/],
    ["bytes behind the last tensor", handmade(`{"v":${entry(0, 4)}}`, 12), /its tensors end at byte/],
    [
      "a shape that contradicts its bytes",
      handmade(`{"w":${entry(0, 8, [3])}}`, 8),
      /F32 of shape \[3\] needs 12 bytes, found 8/,
    ],
    ["a negative length", handmade(`{"w":${entry(0, 8, [-2])}}`, 8), /"w" has no valid shape/],
    [
      "a dtype that is none",
      handmade('{"w":{"dtype":"f 9","shape":[1],"data_offsets":[0,4]}}', 4),
      /"w" has the dtype "f 9"; expected one such as/,
    ],
    ["a tensor twice", handmade(`{"w":${entry(0, 4)},"w":${entry(0, 4)}}`, 4), /names "w" twice/],
    ["a tensor twice, once escaped", handmade(`{"w":${entry(0, 4)}, "\\u0077" :${entry(0, 4)}}`, 4), /names "w" twice/],
    ["metadata that are no strings", handmade('{"__metadata__":{"a":1}}', 0), /something else than strings/],
  ];
  it.each(cases)("refuses %s", async (_, bytes, message) => {
    await withFile("bad.safetensors", bytes, async (path) => {
      const error = await failure(() => readSafetensors(path));
      expect(error.message).toMatch(message);
      expect(error.message).toContain("bad.safetensors");
      expect(error.kind).toBe("corrupt");
      if (bytes[8] === 0x7b) expect((await failure(() => openCheckpoint(path))).message).toBe(error.message);
    });
  });

  it("as a checkpoint it refuses NaN and integer weights; as a cache it keeps NaN", async () => {
    const tensors: Record<string, SafeTensor> = {
      bad: { dtype: "F32", shape: [2], data: Float32Array.of(1, Number.NaN) },
      ids: { dtype: "I32", shape: [1], data: Int32Array.of(4) },
    };
    await withFile("model.safetensors", encode(tensors), async (path) => {
      const checkpoint = await openCheckpoint(path);
      expect((await failure(() => checkpoint.read("bad"))).message).toMatch(/tensor "bad" holds NaN as weight 1/);
      expect((await failure(() => checkpoint.read("ids"))).message).toMatch(
        /tensor "ids" is I32; expected F64, F32, F16, BF16/,
      );
      expect(await failure(() => checkpoint.read("absent"))).toMatchObject({ kind: "missing" });
      await checkpoint.close();
      expect((await readSafetensors(path)).tensors.get("bad")!.data[1]).toBeNaN();
    });
  });

  it.each(["F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "F8_E4M3FNUZ", "Q7_SOME_DAY"])(
    "describes %s, which it does not read, and says so when it is asked for",
    async (dtype) => {
      const header = `{"w":{"dtype":"${dtype}","shape":[2],"data_offsets":[0,2]}}`;
      await withFile("model.safetensors", handmade(header, 2), async (path) => {
        const checkpoint = await openCheckpoint(path);
        expect(checkpoint.tensors.get("w")).toEqual({ name: "w", shape: [2], type: dtype, bytes: 2 });
        for (const call of [() => checkpoint.read("w"), () => readSafetensors(path)]) {
          expect(await failure(call)).toMatchObject({ kind: "unsupported" });
          expect((await failure(call)).message).toContain(`tensor "w" is ${dtype}; `);
        }
        await checkpoint.close();
      });
    },
  );

  it("as a checkpoint it has double precision in single", async () => {
    const tensors: Record<string, SafeTensor> = {
      w: { dtype: "F64", shape: [2], data: Float64Array.of(Math.PI, -1e-3) },
    };
    await withFile("model.safetensors", encode(tensors), async (path) => {
      const checkpoint = await openCheckpoint(path);
      expect([...(await checkpoint.read("w"))]).toEqual([Math.fround(Math.PI), Math.fround(-1e-3)]);
      await checkpoint.close();
    });
  });

  it("is no pickle, though its header's length begins with the bytes of one", async () => {
    const header = `{"w":${entry(0, 4)}}`.padEnd(640); // 640 is 0x80 0x02
    await withFile("model.safetensors", handmade(header, 4), async (path) => {
      const checkpoint = await openCheckpoint(path);
      expect([...checkpoint.tensors.keys()]).toEqual(["w"]);
      await checkpoint.close();
    });
  });

  it("500 seeded mutations open or fail with a typed error", async () => {
    const bytes = await readFile(fixture("formats/quantised.safetensors"));
    const random = seeded(12);
    let opened = 0;
    for (let i = 0; i < 500; i++) {
      await withFile("fuzz.safetensors", mutate(bytes, random, 8 + Number(bytes.readBigUInt64LE(0))), async (path) => {
        for (const open of [readSafetensors, async (path: string) => (await openCheckpoint(path)).close()]) {
          try {
            await open(path);
            opened++;
          } catch (error) {
            if (!(error instanceof HeadscopeError))
              throw new Error(`mutation ${i} ended in a defect`, { cause: error });
          }
        }
      });
    }
    expect(opened).toBeLessThan(800);
  });
});
