import { describe, expect, it } from "vitest";
import type { GatesFile } from "../../../../backend/heads/gate-files.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { gateScores, trainGates } from "../../../../probes/gates/train.ts";
import { errorOf } from "../../../helpers/errors.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";

const toy = await loadModel("toy-induction");
const params = {
  ...{ num_steps: 60, lr: 0.05, reg_weight: 0.002, sinks: 2, recent: 8, num_passkeys: 2, passkey_length: 6 },
  ...{ context_length_min: 64, context_length_max: 96, context_lengths_num_intervals: 2 },
};

describe("DuoAttention's gates of the hand-written induction model", () => {
  it("stay high for the head that fetches passkeys, and fall for every other", async () => {
    const gates = await trainGates(toy, "duo-attention", params);
    const { metrics, params: used, cost } = gateScores(toy, gates) as ReturnType<typeof gateScores> & { cost: unknown };
    const values = metrics["gate"]!.values;
    const others = values.flatMap((row, l) => row.filter((_, h) => !(l === 1 && h === 1)));
    expect(values[1]![1]).toBeGreaterThan(0.8);
    expect(Math.max(...others)).toBeLessThan(0.3);
    expect(used).toMatchObject({
      sink_size: 2,
      recent_size: 8,
      lr: 0.05,
      num_steps: 60,
      dataset_format: "multiple_passkey",
    });
    expect(cost).toMatchObject({ forwards: 180 });
  });

  it("are the same to the bit when a training is stopped and goes on", async () => {
    const short = { ...params, num_steps: 12 };
    const whole = await trainGates(toy, "duo-attention", short, { seed: 3 });
    let kept: GatesFile | undefined;
    const controller = new AbortController();
    const stopped = trainGates(toy, "duo-attention", short, {
      seed: 3,
      signal: controller.signal,
      progress: (done) => done === 5 && controller.abort(new Error("stopped")),
      checkpoint: async (state) => {
        kept = state;
      },
    });
    await expect(stopped).rejects.toThrow("stopped");
    expect(kept!.about.step).toBe(5);
    const rest = await trainGates(toy, "duo-attention", short, { seed: 3, from: kept });
    expect([...rest.tensors]).toEqual([...whole.tensors]);
    expect(rest.about.curve).toEqual(whole.about.curve);
    const other = await errorOf(trainGates(toy, "duo-attention", { ...short, lr: 0.1 }, { seed: 3, from: kept }));
    expect(other).toMatchObject({ kind: "mismatch", field: "lr" });
  });

  it("depend on the seed alone", async () => {
    const few = { ...params, num_steps: 2 };
    const run = async (seed: number) => [...(await trainGates(toy, "duo-attention", few, { seed })).about.curve];
    expect(await run(1)).toEqual(await run(1));
    expect(await run(1)).not.toEqual(await run(2));
  });

  it("leave no tensor behind", async () => {
    const few = { ...params, num_steps: 2 };
    await trainGates(toy, "duo-attention", few);
    const before = tf.memory().numTensors;
    await trainGates(toy, "duo-attention", few);
    expect(tf.memory().numTensors).toBe(before);
  });
});

it("texts that a window covers, and that the context can't hold, are refused", async () => {
  const small = randomModel(smallConfig());
  const refused = (given: object) => errorOf(trainGates(small, "duo-attention", { ...params, ...given }));
  expect(await refused({ recent: 62 })).toMatchObject({
    kind: "usage",
    field: ["sinks", "recent", "context_length_min"],
  });
  expect(await refused({ context_length_max: 1201 })).toMatchObject({ kind: "usage", field: ["context_length_max"] });
});
