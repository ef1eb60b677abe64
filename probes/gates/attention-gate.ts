import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import type { Random } from "../../backend/common/random.ts";
import { PREFILLS } from "../../backend/common/words.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import { blockHook } from "../../backend/models/transformer/hook-points.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { flaggedAttention } from "../../backend/training/gates/flagged.ts";
import { GatedRun } from "../../backend/training/gates/gated-run.ts";
import { languageLoss } from "../../backend/training/gates/language-loss.ts";
import type { GateGradients, GateMethod, GateStep } from "../../backend/training/gates/method.ts";
import { fitPasskeys, passkeyOf, passkeyParameters } from "./passkey-parameters.ts";

const parameters = z.object({
  num_steps: z.int().min(1).default(100).describe("optimiser steps, a text each"),
  lr: z.number().positive().default(2e-3).describe("learning rate, which falls to 0 along a line"),
  width: z.int().min(1).default(32).describe("width of the gate's attention"),
  threshold: z.number().gt(0).lt(1).default(0.5).describe("value of a gate from which on a token stays"),
  prefill: z
    .enum(PREFILLS)
    .default("masked")
    .describe("whether what goes is unseen by later tokens of the prompt too, or only by those behind it"),
  retention: z.number().min(0).max(1).default(0.5).describe("share of the prompt's tokens that is to stay"),
  retention_weight: z.number().min(0).default(1).describe("weight of the mean distance from that share"),
  initial_bias: z.number().default(2).describe("of the gates before the sigmoid, so that all tokens stay at first"),
  ...passkeyParameters,
});
type Parameters = z.output<typeof parameters>;

/** Gates of one attention layer over the stream, which say for each KV head which tokens stay. */
export const attentionGates: GateMethod<typeof parameters> = {
  name: "attention-gate",
  title: "Flags from an attention of their own",
  description:
    "In front of each layer a small attention over the whole prompt gives every token a number for each KV head: from the threshold on it stays. Trained by the loss of the " +
    "passkeys that are recalled behind the prompt, with the model frozen, and by the distance of the share that stays from the one wanted; flags pass gradients straight through.",
  source: "Zeng et al. 2024, In-context KV-Cache Eviction for LLMs via Attention-Gate",
  parameters,
  runs: 3, // up to the first layer, that through the gates, and the way back
  steps: ({ num_steps }) => num_steps,
  adapt: (config, params) => ({ ...params, ...fitPasskeys(config, params) }),
  parts({ d_model, n_key_value_heads: G }, { width, initial_bias }) {
    const spread = (inputs: number) => (random: Random) => random.normal() / Math.sqrt(inputs);
    return [
      { name: "project", shape: [3 * width, d_model], initial: spread(d_model) },
      { name: "out", shape: [G, width], initial: spread(width) },
      { name: "bias", shape: [G], initial: () => initial_bias },
    ];
  },
  learningRate: ({ lr, num_steps }, step) => lr * (1 - step / num_steps),
  gradients,
};

async function gradients({ model, params, gates, step, seed, turn }: GateStep<Parameters>): Promise<GateGradients> {
  const { n_layers, d_model } = model.config;
  const { threshold, prefill, retention, retention_weight } = params;
  const { ids, places, recall } = passkeyOf(model, params, { seed, step });
  const positions = ids.length;
  const start = blockHook(0, "hook_resid_pre");
  const { resid, activations } = forward(
    model,
    { tokens: [ids], logitsAt: "none", stopLayer: Math.min(1, n_layers) },
    { names: [start] },
  );
  const before = tf.reshape(activations.get(start)!, [positions, d_model]);
  tf.dispose([resid, ...activations.values()]);
  const prompt = tf.tensor1d(Float32Array.from({ length: positions }, (_, t) => (t < recall ? 1 : 0)));
  const attention = flaggedAttention({ threshold, prefill, retention, weight: retention_weight / n_layers });
  const run = new GatedRun({ model, attention, gates, rows: 1, positions, prompt, turn });
  let end: Tensor | undefined;
  try {
    await turn();
    await run.forward(before);
    const { loss, gradient } = languageLoss(model, { stream: run.end, ids, places });
    end = gradient;
    const back = await run.backward(gradient);
    return { losses: { language: loss, retention: run.penalty }, gradients: back };
  } finally {
    tf.dispose([before, prompt, ...(end ? [end] : [])]);
    run.dispose();
  }
}
