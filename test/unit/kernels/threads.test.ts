import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { loadKernels, useThreads } from "../../../backend/kernels/kernels.ts";
import { PackedMatrix } from "../../../backend/kernels/packed-matrix.ts";
import { cacheDir } from "../../../backend/paths.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { kernelFolder, kernelRecord } from "../../../backend/setup/native/kernels.mjs";
import { refused } from "../../helpers/errors.ts";
import { kernelsHere } from "../../helpers/kernels/here.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const { ready, threads } = await kernelsHere();
const ROOT = join(import.meta.dirname, "../../..");

/** The kernels' library of this machine. */
function libraryPath(): string {
  const folder = kernelFolder(ROOT, cacheDir());
  return join(folder, kernelRecord(folder)!.library!);
}

const LOOP = join(ROOT, "test/helpers/kernels/loop.cjs");

/** What a process says on standard output until it ends. */
async function said(...args: string[]): Promise<string> {
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (part: Buffer) => {
    text += part.toString();
  });
  await once(child, "close");
  return text;
}

const bits = ({ buffer, byteOffset, byteLength }: Float32Array): Buffer => Buffer.from(buffer, byteOffset, byteLength);

describe.skipIf(!ready)("the kernels' threads", () => {
  afterAll(() => useThreads(threads));

  it("change no bit of a product or of an unpacked matrix", () => {
    const random = new Random(4);
    const values = new Float32Array(3000 * 70);
    random.fillNormal(values);
    const matrix = PackedMatrix.fromRows("f32", tf.tensor1d(values), [3000, 70]);
    const x = tf.randomNormal([5, 70], 0, 1, "float32", 3);
    const runs = [1, 2, 5, 1].map((count) => {
      useThreads(count);
      expect(loadKernels().threads).toBe(count);
      return [matrix.apply(x), matrix.widen()].map((t: Tensor) => bits(t.dataSync() as Float32Array));
    });
    for (const run of runs.slice(1)) expect(run.every((bytes, i) => bytes.equals(runs[0]![i]!))).toBe(true);
    expect(runs[0]![1]!.equals(bits(values))).toBe(true);
  });

  it("refuse numbers that cannot be", () => {
    for (const count of [0, 1.5, 257]) expect(() => useThreads(count)).toThrow(refused("usage"));
  });

  it.each(["exit", "loop"])("let a process end (%s), in the middle of a call too", async (how) => {
    const child = spawn(process.execPath, [LOOP, libraryPath(), how], { stdio: ["ignore", "pipe", "inherit"] });
    const hung = setTimeout(() => child.kill("SIGKILL"), patiently(20_000));
    child.stdout.once("data", () => how === "loop" && setTimeout(() => child.kill("SIGTERM"), 30));
    const end = await new Promise((resolve) => child.on("close", (code, signal) => resolve(code ?? signal)));
    clearTimeout(hung);
    expect(end).toBe(how === "exit" ? 0 : "SIGTERM");
  });

  it("of two processes multiply right beside four busy neighbours", async () => {
    // They end by themselves, should nobody end them.
    const busy = `const end = Date.now() + ${patiently(20_000)}; while (Date.now() < end);`;
    const neighbours = Array.from({ length: 4 }, () => spawn(process.execPath, ["-e", busy], { stdio: "ignore" }));
    try {
      const both = await Promise.all([said(LOOP, libraryPath(), "20"), said(LOOP, libraryPath(), "20")]);
      expect(both).toEqual([0, 1].map(() => `ready\n${20 * 8 * 20_000}\n`));
    } finally {
      for (const neighbour of neighbours) neighbour.kill();
    }
  });
});
