import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPatterns, writePatterns } from "../../../../../backend/heads/patterns.ts";
import { generate } from "../../../../../backend/inference/generate.ts";
import { candidateShapes, searchPatterns } from "../../../../../backend/inference/policies/prompt/search.ts";
import { forward } from "../../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../../backend/models/model.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { kernelsHere } from "../../../../helpers/kernels/here.ts";
import { randomModel, randomTokens, smallConfig } from "../../../../helpers/models.ts";

await kernelsHere();
const TOKENS = randomTokens(1, 450, 96, 5)[0]!;
const folder = mkdtempSync(join(tmpdir(), "headscope-patterns-"));
let model: Model;

beforeAll(async () => {
  model = randomModel(smallConfig({ n_ctx: 500 }));
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

describe("a search of sparse patterns", () => {
  it("tries shapes that read the same share of a sample", () => {
    for (const { pattern, a, b } of candidateShapes(8192, 0.125)) {
      if (pattern === "block_sparse") expect(a).toBe(8192 / 64 / 8);
      else expect(Math.abs(a + b - 1024)).toBeLessThanOrEqual(1);
    }
  });

  it("gives each head the attention that its best shape recalls, which is what minference then reads", async () => {
    const before = tf.memory().numTensors;
    const found = searchPatterns(model, { tokens: TOKENS, share: 0.3, local: 64 });
    expect(tf.memory().numTensors).toBe(before);
    const file = join(folder, "patterns.json");
    await writePatterns(file, found);
    const name = "blocks.0.attn.hook_pattern";
    const { activations, dispose } = forward(model, { tokens: [TOKENS] }, { names: [name] });
    const pattern = tf.squeeze(activations.get(name)!, [0]); // [heads, query, key]
    const recalls: number[][] = [];
    await generate(model, {
      tokens: TOKENS,
      maxTokens: 1,
      policies: [{ name: "minference", params: { patterns: file, local: 64 } }],
      onPromptRead: (layer, read) => {
        if (layer > 0) return;
        const seen = tf.mul(pattern, tf.exp(read.bias()));
        const late = tf.slice(seen, [0, 0, 0], seen.shape as [number, number, number]); // all: fewer than 512 queries
        recalls.push(tf.mean(tf.sum(late, 2), 1).arraySync() as number[]);
      },
    });
    recalls[0]!.forEach((recall, head) => {
      expect(found.layers[0]![head]!.score).toBeCloseTo(recall, 4);
    });
    pattern.dispose();
    dispose();
  });

  it("refuses a sample of one square, and minference a file of another model", async () => {
    expect(() => searchPatterns(model, { tokens: TOKENS.slice(0, 64) })).toThrow(/one square/);
    const file = join(folder, "other.json");
    const one = { pattern: "stream_llm", a: 1, b: 1, score: 1 } as const;
    await writePatterns(file, createPatterns({ ref: "other", layers: 1, heads: 2, kvHeads: 2 }, [[one, one]]));
    const policies = [{ name: "minference", params: { patterns: file } }];
    await expect(generate(model, { tokens: TOKENS, policies })).rejects.toMatchObject({ kind: "mismatch" });
    const gone = [{ name: "minference", params: { patterns: join(folder, "none.json") } }];
    await expect(generate(model, { tokens: TOKENS, policies: gone })).rejects.toMatchObject({ kind: "missing" });
  });
});
