import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { describeModel, loadModel } from "../../../../backend/models/load.ts";
import { readRunCheckpoint, writeRunCheckpoint } from "../../../../backend/models/sources/run-checkpoint.ts";
import { checkpointFile } from "../../../../backend/paths.ts";
import { fixture } from "../../../helpers/fixtures.ts";

const RUN = fixture("runs/induction.safetensors");
const home = process.env["HEADSCOPE_HOME"];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "headscope-checkpoint-"));
  process.env["HEADSCOPE_HOME"] = folder;
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  if (home === undefined) delete process.env["HEADSCOPE_HOME"];
  else process.env["HEADSCOPE_HOME"] = home;
});

/** Puts checkpoints of one run into the data folder. */
async function saveRun(steps: number[]): Promise<void> {
  const checkpoint = await readRunCheckpoint(RUN);
  for (const step of steps) await writeRunCheckpoint(checkpointFile("induction-1", step), { ...checkpoint, step });
}

describe("a checkpoint of a run", () => {
  it("comes back as it was written", async () => {
    const checkpoint = await readRunCheckpoint(RUN);
    const vectors = [checkpoint.parameters.map((x) => x / 2), checkpoint.parameters.map((x) => x * x)];
    const path = join(folder, "one.safetensors");
    const { digest } = await writeRunCheckpoint(path, { ...checkpoint, gradients: "kernel", vectors });
    expect(await readRunCheckpoint(path)).toEqual({ ...checkpoint, gradients: "kernel", vectors });
    expect((await describeModel(path)).digest).toBe(digest);
  });

  it("is found by run:ID and run:ID@step, and the ref says which step it was", async () => {
    await saveRun([0, 10]);
    const refs = ["run:induction-1", "run:induction-1@0"];
    const models = await Promise.all(refs.map((ref) => loadModel(ref)));
    expect(models.map(({ ref }) => ref)).toEqual(["run:induction-1@10", "run:induction-1@0"]);
    for (const model of models) model.dispose();
  });

  it.each([
    ["run:induction-1@7", /run induction-1 has no checkpoint at step 7; choose one of 0, 10/],
    ["run:inductoin-1", /unknown run "inductoin-1"; did you mean induction-1\?/],
    ["run:../../etc", /"run:..\/..\/etc" names no run; write run:ID or run:ID@step/],
    ["run:induction-1@x", /names no run/],
  ])("%s is refused", async (ref, message) => {
    await saveRun([0, 10]);
    await expect(loadModel(ref)).rejects.toMatchObject({ line: expect.stringMatching(message) });
  });

  it.each([
    [
      "another version",
      (bytes: Buffer) => Buffer.from(bytes.toString("latin1").replace("checkpoint/1", "checkpoint/9"), "latin1"),
      /the checkpoint says headscope\.checkpoint\/9, this version reads headscope\.checkpoint\/1/,
    ],
    [
      "a width that the numbers don't have",
      (bytes: Buffer) => Buffer.from(bytes.toString("latin1").replace('d_model\\":48', 'd_model\\":49'), "latin1"),
      /the checkpoint's model has \d+ parameters and the file 23\d+ numbers/,
    ],
    [
      "NaN",
      (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -4), Buffer.from([0, 0, 0xc0, 0x7f])]),
      /the checkpoint holds NaN or infinity/,
    ],
  ])("with %s is refused", async (_, change, message) => {
    const path = join(folder, "bad.safetensors");
    writeFileSync(path, change(readFileSync(RUN)));
    await expect(loadModel(path)).rejects.toMatchObject({ line: expect.stringMatching(message) });
  });

  it("that is cut off is refused", async () => {
    const path = join(folder, "short.safetensors");
    writeFileSync(path, readFileSync(RUN));
    truncateSync(path, 50_000);
    await expect(loadModel(path)).rejects.toMatchObject({ kind: "corrupt" });
  });
});
