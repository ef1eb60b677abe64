import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import type { ModelConfig } from "../../backend/models/config.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import { blockHook } from "../../backend/models/transformer/hook-points.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { distillation } from "../../backend/training/gates/distillation.ts";
import { GatedRun } from "../../backend/training/gates/gated-run.ts";
import type { GateGradients, GateMethod, GateStep } from "../../backend/training/gates/method.ts";
import { streamingMixture } from "../../backend/training/gates/streaming.ts";
import { fitPasskeys, passkeyOf, passkeyParameters } from "./passkey-parameters.ts";

const parameters = z.object({
  num_steps: z.int().min(1).default(100).describe("optimiser steps (DuoAttention: 2000)"),
  lr: z.number().positive().default(0.02).describe("largest learning rate"),
  reg_weight: z.number().min(0).default(0.05).describe("weight of the mean of the gates in the loss"),
  initial_value: z.number().min(0).max(1).default(1).describe("value of the gates before training"),
  sinks: z.int().min(0).default(16).describe("first tokens that a streaming head sees (DuoAttention: 128)"),
  recent: z.int().min(1).default(64).describe("last tokens that it sees (DuoAttention: 256)"),
  ...passkeyParameters,
});
type Parameters = z.output<typeof parameters>;

/** Share of the steps over which the learning rate rises, and over which it falls. */
const SLOPE = 5;
/** Least share of the learning rate. */
const LEAST = 0.1;

/** DuoAttention's gates: how much of each KV head's output is full attention's. */
export const duoAttentionGates: GateMethod<typeof parameters> = {
  name: "duo-attention",
  title: "Gates between full and streaming attention",
  description:
    "A number a KV head, 1 before training: the head's output is that share of full attention's and the rest of streaming attention's. The loss is " +
    "the distance of the last hidden states from the model's own where passkeys are recalled, and the mean of the gates. What stays near 1 retrieves.",
  source: "Xiao et al. 2024, DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads",
  parameters,
  range: [0, 1],
  runs: 3, // the model's own, that through the gates, and the way back
  steps: ({ num_steps }) => num_steps,
  parts: ({ n_key_value_heads }, { initial_value }) => [
    { name: "gate", shape: [n_key_value_heads], initial: () => initial_value },
  ],
  // LambdaLR of its code: up over the first fifth, down over the last.
  learningRate({ lr, num_steps }, step) {
    const slope = Math.max(1, Math.floor(num_steps / SLOPE));
    return lr * Math.min(1, Math.max((step + 1) / slope, LEAST), Math.max((num_steps - step) / slope, LEAST));
  },
  adapt(config, params) {
    const fitted = { ...params, ...fitPasskeys(config, params) };
    const { sinks, recent, context_length_min: shortest } = fitted;
    if (sinks + recent < shortest) return fitted;
    throw new HeadscopeError(
      "usage",
      `texts of ${shortest} tokens fit into ${sinks} sinks and ${recent} recent tokens`,
      {
        remedy: "give fewer of these, or longer texts",
        field: ["sinks", "recent", "context_length_min"],
      },
    );
  },
  gradients,
};

async function gradients({ model, params, gates, step, seed, turn }: GateStep<Parameters>): Promise<GateGradients> {
  const { config } = model;
  const { sinks: sink, recent, reg_weight } = params;
  const { ids, places } = passkeyOf(model, params, { seed, step });
  const start = blockHook(0, "hook_resid_pre");
  const flat = (t: Tensor): Tensor => tf.reshape(t, [ids.length, config.d_model]);
  const { resid, activations } = forward(model, { tokens: [ids], logitsAt: "none" }, { names: [start] });
  const [full, before] = [flat(resid), flat(activations.get(start)!)];
  tf.dispose([resid, ...activations.values()]);
  const attention = streamingMixture({ sink, recent });
  const run = new GatedRun({ model, attention, gates, rows: 1, positions: ids.length, turn });
  let end: Tensor | undefined;
  try {
    await turn();
    await run.forward(before);
    const { loss: distance, gradient } = distillation(model, { full, changed: run.end, places });
    end = gradient;
    const back = await run.backward(gradient);
    const penalty = penaltyOf(gates, config, reg_weight);
    const sums = back.map(([own], layer) => [tf.tidy(() => tf.add(own!, penalty.gradients[layer]!))]);
    tf.dispose([...back.flat(), ...penalty.gradients]);
    return { losses: { distance, gates: penalty.mean }, gradients: sums };
  } finally {
    tf.dispose([full, before, ...(end ? [end] : [])]);
    run.dispose();
  }
}

/** The mean of |gate|, and by layer the gradient of weight times that. */
function penaltyOf(
  gates: readonly (readonly Tensor[])[],
  { n_layers, n_key_value_heads }: ModelConfig,
  weight: number,
): { mean: number; gradients: Tensor[] } {
  const count = n_layers * n_key_value_heads;
  const sum = gates.reduce((total, [own]) => total + tf.tidy(() => tf.sum(tf.abs(own!)).dataSync()[0]!), 0);
  return { mean: sum / count, gradients: gates.map(([own]) => tf.tidy(() => tf.mul(tf.sign(own!), weight / count))) };
}
