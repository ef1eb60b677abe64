import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { distillation } from "../../../../backend/training/gates/distillation.ts";
import { GatedRun } from "../../../../backend/training/gates/gated-run.ts";
import { streamingMixture } from "../../../../backend/training/gates/streaming.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { relativeError } from "../../../helpers/oracles/differences.ts";

await initBackend();

const window = { sink: 2, recent: 5 };
const LENGTH = 24;
const [tokens] = randomTokens(1, LENGTH, 96, 5);
const places = [11, 19, 20, 23];

/** The distillation loss under some gates [layers][KV heads], and its gradient. */
async function lossOf(model: Model, values: number[][]): Promise<{ loss: number; gradients: number[][]; end: Tensor }> {
  const start = "blocks.0.hook_resid_pre";
  const full = forward(model, { tokens: [tokens!], logitsAt: "none" }, { names: [start] });
  const gates = values.map((row) => [tf.tensor1d(row)]);
  const run = new GatedRun({ model, attention: streamingMixture(window), gates, rows: 1, positions: LENGTH });
  const flat = (t: Tensor): Tensor => tf.reshape(t, [LENGTH, -1]);
  const before = flat(full.activations.get(start)!);
  const own = flat(full.resid);
  await run.forward(before);
  const { loss, gradient } = distillation(model, { full: own, changed: run.end, places });
  const back = await run.backward(gradient);
  const gradients = back.map(([g]) => [...g!.dataSync()]);
  const end = tf.clone(run.end);
  tf.dispose([before, own, gradient, gates, back]);
  run.dispose();
  full.dispose();
  return { loss, gradients, end };
}

const CASES: { name: string; config: Partial<ModelConfig> }[] = [
  { name: "grouped queries", config: {} },
  { name: "a norm of each head, layer norms", config: { qk_norm: "head", normalization_type: "LN" } },
  { name: "learned positions, attention only", config: { attn_only: true, positional_embedding_type: "standard" } },
  { name: "local layers", config: { window_size: 7, attn_types: ["local", "global"] } },
];

describe.each(CASES)("a run through DuoAttention's gates, with $name", ({ config }) => {
  const model = randomModel(smallConfig({ n_layers: 2, ...config }));

  it("with gates of 1 is the model's own, and costs nothing", async () => {
    const { loss, end } = await lossOf(model, [[1, 1], [1, 1]]); // biome-ignore format: a table
    const { resid } = forward(model, { tokens: [tokens!], logitsAt: "none" });
    expect(maxDifference(tf.reshape(end, resid.shape), resid)).toBeLessThan(1e-4);
    expect(loss).toBeLessThan(1e-9);
  });

  it("with gates of 0 is that of heads that all stream", async () => {
    const { end } = await lossOf(model, [[0, 0], [0, 0]]); // biome-ignore format: a table
    const windows = Array.from({ length: 2 }, () => [window, window]);
    const { resid } = forward(model, { tokens: [tokens!], logitsAt: "none", windows });
    expect(maxDifference(tf.reshape(end, resid.shape), resid)).toBeLessThan(1e-4);
  });

  it("has the gradient that differences of its loss have", async () => {
    const at = [[0.7, 0.4], [0.9, 0.2]]; // biome-ignore format: a table
    const { gradients } = await lossOf(model, at);
    const step = 1e-2;
    for (const layer of [0, 1])
      for (const head of [0, 1]) {
        const moved = async (by: number) => {
          const values = at.map((row) => [...row]);
          values[layer]![head]! += by;
          return (await lossOf(model, values)).loss;
        };
        // Richardson: the error is of the fourth order in the step.
        const central = async (h: number) => ((await moved(h)) - (await moved(-h))) / (2 * h);
        const slope = (4 * (await central(step)) - (await central(2 * step))) / 3;
        expect(relativeError(gradients[layer]![head]!, slope), `${layer}.${head}`).toBeLessThan(1e-3);
      }
  });
});

it("frees what it made", async () => {
  const model = randomModel(smallConfig({ n_layers: 2 }));
  (await lossOf(model, [[1, 1], [1, 1]])).end.dispose(); // biome-ignore format: a table
  const before = tf.memory().numTensors;
  (await lossOf(model, [[0.5, 1], [1, 0.2]])).end.dispose(); // biome-ignore format: a table
  expect(tf.memory().numTensors).toBe(before);
});
