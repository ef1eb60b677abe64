import { describe, expect, test } from "vitest";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import { Random } from "../../../backend/common/random.ts";
import {
  encodeFrame,
  type Frame,
  FrameDecoder,
  fromWire,
  type Header,
  toWire,
} from "../../../backend/jobs/protocol.ts";
import { refused } from "../../helpers/errors.ts";

const bytesOf = (header: object, body?: Uint8Array) => Buffer.concat(encodeFrame(header as Header, body));
const whole = (random: Random, below: number) => Math.floor(random.uniform() * below);

/** Frames of many sizes, some without a body, some with text that is not ASCII. */
function someFrames(random: Random): { header: Header & { text: string }; body: Uint8Array }[] {
  return Array.from({ length: 12 }, (_, id) => ({
    header: { id, type: "event", text: "é∑𝛼".repeat(whole(random, 50)) },
    body: Uint8Array.from({ length: whole(random, 2) * whole(random, 5_000) }, () => whole(random, 256)),
  }));
}

/** Gives bytes to a decoder in pieces of random lengths. */
function inPieces(decoder: FrameDecoder, bytes: Uint8Array, random: Random): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + whole(random, random.uniform() < 0.5 ? 5 : 3_000);
    frames.push(...decoder.push(bytes.slice(at, at + length)));
    at += length;
  }
  return frames;
}

describe("frames", () => {
  test("come out as they went in, however their bytes are cut", () => {
    for (let seed = 0; seed < 30; seed++) {
      const random = new Random(seed);
      const frames = someFrames(random);
      const bytes = Buffer.concat(frames.map(({ header, body }) => bytesOf(header, body)));
      const decoder = new FrameDecoder();
      const decoded = inPieces(decoder, bytes, random);
      expect(decoded.map(({ header, body }) => ({ header, body: Buffer.from(body) }))).toEqual(
        frames.map(({ header, body }) => ({ header, body: Buffer.from(body) })),
      );
      expect(decoder.pending).toBe(0);
    }
  });

  test("have bodies over which numbers can be read in place", () => {
    const values = Float64Array.of(1, 1 / 3, -2);
    const decoder = new FrameDecoder();
    decoder.push(bytesOf({ id: 1, type: "a", odd: "x" }).subarray(0, 5));
    const rest = Buffer.concat([
      bytesOf({ id: 1, type: "a", odd: "x" }).subarray(5),
      bytesOf({ id: 2, type: "b" }, new Uint8Array(values.buffer)),
    ]);
    const { body } = decoder.push(rest)[1]!;
    expect(new Float64Array(body.buffer, body.byteOffset, 3)).toEqual(values);
  });

  test.each([
    ["a header that is not JSON", Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7b, 0x7b]), /a header is not JSON/],
    ["a header that is not UTF-8", Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0xff]), /a header is not JSON/],
    ["a header that is no object", bytesOf(7 as never), /a header is no object|lacks the id/],
    ["a header without an id", bytesOf({ type: "x" }), /lacks the id or the type/],
    ["a negative id", bytesOf({ id: -1, type: "x" }), /lacks the id or the type/],
    ["a long header", Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), /a header of 4294967295 bytes is announced/],
    ["a long body", Buffer.from([2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), /a body of 4294967295 bytes is announced/],
  ])("with %s are refused", (_, bytes, message) => {
    expect(() => new FrameDecoder().push(bytes)).toThrow(message);
  });

  test("of random or damaged bytes are refused or waited for, within the limits and never otherwise", () => {
    const limits = { header: 4_096, body: 8_192 };
    let refused = 0;
    for (let seed = 0; seed < 400; seed++) {
      const random = new Random(seed, 1);
      const good = Buffer.concat(
        someFrames(random).map(({ header, body }) => bytesOf(header, body.subarray(0, 4_000))),
      );
      const bytes =
        seed % 2 === 0 ? Buffer.from(Uint8Array.from({ length: 200 }, () => whole(random, 256))) : Buffer.from(good);
      for (let damage = 0; damage < 8; damage++) bytes[whole(random, bytes.length)] = whole(random, 256);
      const decoder = new FrameDecoder(limits);
      try {
        for (const { header } of inPieces(decoder, bytes, random)) expect(typeof header.type).toBe("string");
      } catch (error) {
        refused++;
        expect(error).toBeInstanceOf(HeadscopeError);
        expect(error).toMatchObject({ kind: "corrupt" });
      }
      expect(decoder.pending).toBeLessThanOrEqual(limits.header + limits.body + 3_000);
    }
    expect(refused).toBeGreaterThan(100);
  });

  test("that a decoder would refuse are not sent", () => {
    expect(() => encodeFrame({ id: 1, type: "x".repeat(2 ** 24) })).toThrow(refused("input"));
  });
});

describe("errors through a pipe", () => {
  const through = (error: unknown) => fromWire(JSON.parse(JSON.stringify(toWire(error))));

  test("keep what a person must know", () => {
    const error = through(new HeadscopeError("corrupt", "run.x is cut off", { remedy: "train anew" }));
    expect(error).toBeInstanceOf(HeadscopeError);
    expect(error).toMatchObject({ kind: "corrupt", line: "run.x is cut off; train anew" });
    const full = Object.assign(new Error("no space"), { code: "ENOSPC", path: "/x/y" });
    expect(through(full)).toMatchObject({ message: "no space", code: "ENOSPC", path: "/x/y", stack: full.stack });
    expect(through("a text").message).toBe("a text");
  });
});
