import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import protobuf from "protobufjs";
import { beforeEach, describe, expect, it } from "vitest";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { type Curves, curvesCsv } from "../../../backend/training/record/curves.ts";
import { writeEvents } from "../../../backend/training/record/tensorboard.ts";

const CURVES: Curves = new Map([
  [
    "loss",
    [
      { step: 0, value: 3.5 },
      { step: 10, value: 0.1 + 0.2 },
      { step: 100, value: Number.NaN },
    ],
  ],
  ['odd, "name"', [{ step: 10, value: -1e-9 }]],
  ["induction.induction[1.3]", [{ step: 7, value: 0.25 }]],
]);

describe("CSV", () => {
  it("has a line a step, a column a metric, empty cells where nothing was measured, and every digit", () => {
    expect(curvesCsv(CURVES)).toBe(
      [
        'step,loss,"odd, ""name""",induction.induction[1.3]',
        "0,3.5,,",
        "7,,,0.25",
        "10,0.30000000000000004,-1e-9,",
        "100,NaN,,",
        "",
      ].join("\n"),
    );
  });

  it("of a run without measurements is its heading", () => {
    expect(curvesCsv(new Map())).toBe("step\n");
  });
});

/** CRC-32C bit by bit, as RFC 3720 defines it, in TFRecord's masked form. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** The payloads of a TFRecord file; throws where a length or a checksum is wrong. */
function records(file: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    if (maskedCrc(file.subarray(at, at + 8)) !== file.readUInt32LE(at + 8)) throw new Error(`length at ${at}`);
    const data = file.subarray(at + 12, at + 12 + length);
    if (data.length !== length || maskedCrc(data) !== file.readUInt32LE(at + 12 + length))
      throw new Error(`record at ${at}`);
    found.push(data);
    at += 16 + length;
  }
  return found;
}

/** The fields of tensorflow.Event that a scalar needs. */
const Event = protobuf
  .parse(
    `syntax = "proto3";
     message Value { string tag = 1; float simple_value = 2; }
     message Summary { repeated Value value = 1; }
     message Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }`,
  )
  .root.lookupType("Event");

interface EventMessage {
  step: number;
  fileVersion: string;
  summary?: { value: { tag: string; simpleValue: number }[] };
}

const native = (await initBackend()).name === "tensorflow";

describe("TensorBoard event file", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "headscope-events-"));
    return () => rm(folder, { recursive: true, force: true });
  });

  it.skipIf(native)("needs the native backend, says so, and names the other format", async () => {
    await expect(writeEvents(folder, "induction-1", CURVES)).rejects.toMatchObject({
      kind: "unsupported",
      remedy: expect.stringContaining("CSV"),
    });
  });

  it.runIf(native)("is framed with right checksums and holds every point under its metric's name", async () => {
    const before = tf.memory().numTensors;
    const name = await writeEvents(folder, "induction-1", CURVES);
    expect(tf.memory().numTensors).toBe(before);
    expect(await readdir(folder)).toEqual([name]);
    const events = records(await readFile(join(folder, name))).map(
      (record) => Event.toObject(Event.decode(record), { longs: Number }) as EventMessage,
    );
    expect(events[0]!.fileVersion).toBe("brain.Event:2");
    const points = events
      .slice(1)
      .flatMap(({ step = 0, summary }) => summary!.value.map(({ tag, simpleValue }) => [tag, step, simpleValue]));
    const wanted = [...CURVES].flatMap(([tag, curve]) =>
      curve.map(({ step, value }) => [tag, step, Math.fround(value)]),
    );
    expect(points).toEqual(wanted);
  });
});
