import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { writeTransformerLens } from "../../../backend/exports/checkpoints/transformer-lens.ts";
import type { Model } from "../../../backend/models/model.ts";
import { parameter, parameterNames } from "../../../backend/models/weights/parameters.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { randomModel, smallConfig } from "../../helpers/models.ts";

let model: Model;
let parent: string;
let folder: string;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig({ n_layers: 1, n_key_value_heads: 6, positional_embedding_type: "none", n_ctx: 12 }));
});
afterAll(() => model.dispose());
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "headscope-model-"));
  folder = join(parent, "model");
  return () => rm(parent, { recursive: true, force: true });
});

/** The tensors of a safetensors file, by the format's own description. */
async function readTensors(path: string): Promise<Map<string, { shape: number[]; values: Float32Array }>> {
  const bytes = await readFile(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const { __metadata__: _, ...entries } = JSON.parse(bytes.toString("utf8", 8, 8 + length));
  return new Map(
    Object.entries(entries as Record<string, { shape: number[]; data_offsets: [number, number] }>).map(
      ([name, { shape, data_offsets }]) => {
        const [start, end] = data_offsets.map((offset) => 8 + length + offset) as [number, number];
        return [name, { shape, values: new Float32Array(Uint8Array.from(bytes.subarray(start, end)).buffer) }];
      },
    ),
  );
}

describe("a model's folder", () => {
  it("holds every parameter in its own shape and values, and zeros for absent positions", async () => {
    const before = tf.memory().numTensors;
    await writeTransformerLens(model, folder);
    expect(tf.memory().numTensors).toBe(before);
    const tensors = await readTensors(join(folder, "model.safetensors"));
    const names = parameterNames(model.config);
    expect([...tensors.keys()]).toEqual([...names, "pos_embed.W_pos"]);
    for (const name of names) {
      const own = parameter(model, name);
      expect(tensors.get(name)!.shape, name).toEqual(own.shape);
      expect(tensors.get(name)!.values, name).toEqual(own.dataSync());
      own.dispose();
    }
    const positions = tensors.get("pos_embed.W_pos")!;
    expect(positions.shape).toEqual([12, 48]);
    expect(positions.values.every((value) => value === 0)).toBe(true);
  });

  it("replaces what an export wrote when it is told to, and nothing else", async () => {
    await writeTransformerLens(model, folder);
    await expect(writeTransformerLens(model, folder)).rejects.toThrow(refused("input"));
    await writeTransformerLens(model, folder, { force: true });
    await writeFile(join(folder, "notes.txt"), "mine");
    await expect(writeTransformerLens(model, folder, { force: true })).rejects.toThrow(
      refused("input", { message: "notes.txt" }),
    );
    expect(await readFile(join(folder, "notes.txt"), "utf8")).toBe("mine");
    expect(await readdir(parent)).toEqual(["model"]);
  });

  it("is whole or not there when the export is stopped", async () => {
    const stop = new AbortController();
    const writing = writeTransformerLens(model, folder, { signal: stop.signal });
    stop.abort(new Error("stopped"));
    await expect(writing).rejects.toThrow("stopped");
    expect(existsSync(folder)).toBe(false);
    expect(await readdir(parent)).toEqual([]);
  });
});
