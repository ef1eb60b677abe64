import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { writeHuggingFace } from "../../../backend/exports/checkpoints/hugging-face.ts";
import { readSafetensors } from "../../../backend/models/formats/safetensors/safetensors.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { fixture } from "../../helpers/fixtures.ts";

it("a model held as its file has it exports the checkpoint of the model in float32, up to the sign of zeros", async () => {
  const folder = await mkdtemp(join(tmpdir(), "headscope-export-"));
  try {
    const written: Map<string, number[]>[] = [];
    for (const weights of ["f32", "q8"] as const) {
      const model = await loadModel(fixture("formats/llama-tiny.gguf"), { weights });
      const before = tf.memory().numTensors;
      await writeHuggingFace(model, join(folder, weights));
      expect(tf.memory().numTensors).toBe(before);
      model.dispose();
      const { tensors } = await readSafetensors(join(folder, weights, "model.safetensors"));
      written.push(
        new Map([...tensors].map(([name, { data }]) => [name, Array.from(data as Float32Array, (value) => value + 0)])),
      );
    }
    expect(written[0]!.size).toBeGreaterThan(10);
    expect(written[1]).toEqual(written[0]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
