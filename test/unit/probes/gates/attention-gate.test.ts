import { describe, expect, it } from "vitest";
import { loadModel } from "../../../../backend/models/load.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { trainGates } from "../../../../probes/gates/train.ts";

const toy = await loadModel("toy-induction");
const params = {
  ...{ num_steps: 60, lr: 0.01, width: 8, retention: 0.5, retention_weight: 2, num_passkeys: 2, passkey_length: 6 },
  ...{ context_length_min: 64, context_length_max: 64, context_lengths_num_intervals: 1 },
};

describe("Attention-Gate's gates of the hand-written induction model", () => {
  it("come to keep the share that is wanted, and the passkeys are still recalled", async () => {
    const { about, tensors } = await trainGates(toy, "attention-gate", params);
    const mean = (losses: readonly Record<string, number>[], name: string) =>
      losses.reduce((sum, each) => sum + each[name]!, 0) / losses.length;
    const [first, last] = [about.curve.slice(0, 5), about.curve.slice(-10)];
    expect(mean(last, "retention")).toBeLessThan(0.3 * mean(first, "retention"));
    // At first everything stays, but for a few steps while the gates find what matters.
    expect(mean(last, "language")).toBeLessThan(mean(first, "language"));
    expect(tensors.get("blocks.1.project")!.shape).toEqual([24, toy.config.d_model]);
  });

  it("leave no tensor behind", async () => {
    await trainGates(toy, "attention-gate", { ...params, num_steps: 2 });
    const before = tf.memory().numTensors;
    await trainGates(toy, "attention-gate", { ...params, num_steps: 2 });
    expect(tf.memory().numTensors).toBe(before);
  });
});
