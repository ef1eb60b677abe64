import { beforeAll, expect, it } from "vitest";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { describeModel, loadModel } from "../../../../backend/models/load.ts";
import { toyInduction } from "../../../../backend/models/sources/constructed.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";

beforeAll(async () => {
  await initBackend();
});

it("the constructed model's heads do what they were written for", () => {
  const model = toyInduction();
  const r = Array.from({ length: 40 }, (_, i) => ((i * 37) % 127) + 1); // distinct tokens
  const tokens = [[0, ...r, ...r]];
  const result = forward(model, { tokens }, { names: ["blocks.0.attn.hook_pattern", "blocks.1.attn.hook_pattern"] });
  const [p0, p1] = [...result.activations.values()].map((t) => t.arraySync() as number[][][][]);
  for (let i = 50; i < 80; i++) {
    expect(p0![0]![0]![i]![i - 1]).toBeGreaterThan(0.99); // previous token
    expect(p0![0]![1]![i]![i - 40]).toBeGreaterThan(0.45); // duplicate token, shared with the token itself
    expect(p0![0]![2]![i]![0]).toBeGreaterThan(0.99); // sink
    expect(p1![0]![1]![i]![i - 39]).toBeGreaterThan(0.99); // induction
  }
  const predicted = (result.logits!.argMax(-1).arraySync() as number[][])[0]!;
  expect(predicted.slice(45, 80)).toEqual(tokens[0]!.slice(46, 81));
});

it("is described as it is loaded, and the description keeps no tensor", async () => {
  const before = tf.memory().numTensors;
  const described = await describeModel("toy-induction");
  expect(tf.memory().numTensors).toBe(before);
  const model = await loadModel("toy-induction");
  const { ref, family, digest, config } = model;
  model.dispose();
  expect(described).toEqual({ ref, family, digest, config });
});
