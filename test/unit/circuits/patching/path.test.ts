import { beforeAll, describe, expect, it } from "vitest";
import { patchPaths } from "../../../../backend/circuits/patching/path.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { toyInduction } from "../../../../backend/models/sources/constructed.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { precedingPair, repeatedPair } from "../../../../frontend/src/patching/pair/pairs.ts";

// BOS, then 7 followed by 9 among other tokens, then 7 again: 9 is next. Without the first 7 nothing says so.
const pair = {
  clean: [0, 20, 7, 9, 33, 41, 52, 7],
  corrupt: [0, 20, 61, 9, 33, 41, 52, 7],
  answer: 9,
  wrong: 33,
};

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = toyInduction();
});

describe("path patching of the constructed induction circuit", () => {
  it("finds that the induction head's keys are made by the previous-token head, and nothing else", async () => {
    const into = [{ layer: 1, head: 1 }];
    const before = tf.memory().numTensors;
    const { clean, corrupt, patched } = await patchPaths(model, { pairs: [pair], into, through: "k" });
    expect(tf.memory().numTensors).toBe(before);
    const restored = patched[0]!.map((value) => (value - corrupt) / (clean - corrupt));
    expect(clean - corrupt).toBeGreaterThan(5);
    expect(restored[0]).toBeCloseTo(1, 2);
    for (const other of restored.slice(1)) expect(Math.abs(other)).toBeLessThan(0.01);
  });

  it("is found by the pair that the page begins with, which swaps the tokens before the ones to copy", async () => {
    const made = precedingPair(model.config.d_vocab, model.config.n_ctx);
    const pair = { ...made, clean: [...(made.clean as number[])], corrupt: [...(made.corrupt as number[])] };
    const into = [{ layer: 1, head: 1 }];
    const { clean, corrupt, patched } = await patchPaths(model, { pairs: [pair], into, through: "k" });
    expect((patched[0]![0]! - corrupt) / (clean - corrupt)).toBeGreaterThan(0.9);
    // The one that changes what is copied has nothing to do with keys.
    const plain = repeatedPair(model.config.d_vocab, model.config.n_ctx) as typeof pair;
    const other = await patchPaths(model, { pairs: [plain], into, through: "k" });
    for (const value of other.patched[0]!) expect(value).toBeCloseTo(other.corrupt, 3);
  });

  it.each(["q", "v"] as const)("restores nothing through the induction head's %s", async (through) => {
    const into = [{ layer: 1, head: 1 }];
    const { corrupt, patched } = await patchPaths(model, { pairs: [pair], into, through });
    for (const value of patched[0]!) expect(value).toBeCloseTo(corrupt, 3);
  });

  it("restores nothing into another head", async () => {
    const into = [{ layer: 1, head: 2 }];
    const { corrupt, patched } = await patchPaths(model, { pairs: [pair], into, through: "k" });
    for (const value of patched[0]!) expect(value).toBeCloseTo(corrupt, 3);
  });

  it.each([
    [[], /no head is named/],
    [[{ layer: 0, head: 1 }], /0\.1 is in the first layer/],
    [
      [
        { layer: 1, head: 1 },
        { layer: 2, head: 0 },
      ],
      /there is no head 2\.0/,
    ],
    [["m1"], /no MLP/],
    [["1"], /"1" is not a head/],
  ])("refuses receivers that can't be: %j", async (into, message) => {
    await expect(patchPaths(model, { pairs: [pair], into, through: "k" })).rejects.toThrow(message);
  });
});
