import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import type { Random } from "../../backend/common/random.ts";
import { foretoldLogits, type TokenVectors } from "../../backend/heads/retaining-head.ts";
import { localWindow, type ModelConfig } from "../../backend/models/config.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { ForwardResult } from "../../backend/models/forward/types.ts";
import type { Model } from "../../backend/models/model.ts";
import { softCap } from "../../backend/models/transformer/attention.ts";
import { normaliseHeads } from "../../backend/models/transformer/block.ts";
import { blockHook } from "../../backend/models/transformer/hook-points.ts";
import { tf } from "../../backend/runtime/tf.ts";
import type { GateGradients, GateMethod, GateStep } from "../../backend/training/gates/method.ts";
import { fitPasskeys, passkeyOf, passkeyParameters } from "./passkey-parameters.ts";

const parameters = z.object({
  num_steps: z.int().min(1).default(200).describe("optimiser steps, a text each (Locret: 3000)"),
  lr: z.number().positive().default(1e-3).describe("largest learning rate (Locret: 5e-4)"),
  hidden: z.int().min(1).default(64).describe("width of a retaining head's hidden layer (Locret: 1024)"),
  smooth_weight: z.number().min(0).default(0.0025).describe("weight of the squared steps from token to token"),
  grad_clip: z.number().positive().default(0.5).describe("largest size of a gradient's numbers"),
  ...passkeyParameters,
});
type Parameters = z.output<typeof parameters>;

/** Share of the steps over which the learning rate rises; then it falls to 0. */
const WARMUP = 2 / 3;

/** Locret's retaining heads: a small network a layer that foretells which keys will be looked at. */
export const locretHeads: GateMethod<typeof parameters> = {
  name: "locret",
  title: "Retaining heads",
  description:
    "A layer's retaining head foretells, from a token's query, key and value before the rotation, the largest attention logit that its key will receive from later queries, " +
    "for each KV head. Trained on texts with passkeys: the later queries are those of the questions and answers. Needs no gradient through the model.",
  source: "Huang et al. 2024, Locret: Enhancing Eviction in Long-Context LLM Inference with Trained Retaining Heads",
  parameters,
  runs: 1,
  adam: { beta2: 0.95, weight_decay: 0.01 },
  steps: ({ num_steps }) => num_steps,
  adapt: (config, params) => ({ ...params, ...fitPasskeys(config, params) }),
  parts({ n_heads: H, n_key_value_heads: G, d_head: D }, { hidden }) {
    const width = (H + 2 * G) * D;
    const spread = (inputs: number) => (random: Random) => random.normal() / Math.sqrt(3 * inputs);
    return [
      { name: "fc1", shape: [hidden, width], initial: spread(width) },
      { name: "fc2", shape: [G, hidden], initial: spread(hidden) },
    ];
  },
  learningRate({ lr, num_steps }, step) {
    const warmup = Math.max(1, Math.floor(num_steps * WARMUP));
    return lr * (step < warmup ? (step + 1) / warmup : (num_steps - step) / Math.max(1, num_steps - warmup));
  },
  gradients,
};

async function gradients({ model, params, gates, step, seed, turn }: GateStep<Parameters>): Promise<GateGradients> {
  const { ids, recall } = passkeyOf(model, params, { seed, step });
  const { n_layers } = model.config;
  const names = Array.from({ length: n_layers }, (_, layer) => LOOKS.map((name) => blockHook(layer, name))).flat();
  await turn();
  const run = forward(
    model,
    { tokens: [ids], logitsAt: "none" },
    { names: names.filter((name) => exists(model, name)) },
  );
  try {
    const sums = { logits: 0, steps: 0 };
    const all: Tensor[][] = [];
    for (let layer = 0; layer < n_layers; layer++) {
      await turn();
      const own = layerGradients(model, run, { layer, recall, params, head: gates[layer]! });
      sums.logits += own.logits / n_layers;
      sums.steps += own.steps;
      all.push(own.gradients);
    }
    return { losses: sums, gradients: all };
  } finally {
    run.dispose();
  }
}

/** Hook points that a text is looked at: before the rotation, and behind it for the logits. */
const LOOKS = ["attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_rot_q", "attn.hook_rot_k"] as const;

function exists({ config }: Model, name: string): boolean {
  return config.positional_embedding_type === "rotary" || !name.includes("hook_rot_");
}

/** A layer of a text to learn from. */
interface LayerLesson {
  layer: number;
  /** Position at which the later queries begin. */
  recall: number;
  params: Parameters;
  /** fc1 and fc2. */
  head: readonly Tensor[];
}

/** The losses of a layer's retaining head, and its gradient. */
function layerGradients(
  model: Model,
  run: ForwardResult,
  { layer, recall, params, head }: LayerLesson,
): { logits: number; steps: number; gradients: Tensor[] } {
  const { config } = model;
  const weight = 1 / config.n_layers;
  let [logits, steps] = [0, 0];
  const found = tf.tidy(() => {
    const { tokens, target } = lessonOf(model, run, layer, recall);
    const lossOf = (fc1: Tensor, fc2: Tensor): { near: Tensor; smooth: Tensor } => {
      const foretold = foretoldLogits({ fc1, fc2 }, tokens); // [recall, KV heads]
      const [count, heads] = foretold.shape as [number, number];
      const ahead = tf.slice(foretold, [1, 0], [count - 1, heads]);
      const behind = tf.slice(foretold, [0, 0], [count - 1, heads]);
      return { near: smoothL1(tf.sub(foretold, target)), smooth: tf.mean(tf.square(tf.sub(ahead, behind))) };
    };
    const { near, smooth } = lossOf(head[0]!, head[1]!);
    [logits, steps] = [near.dataSync()[0]!, smooth.dataSync()[0]!];
    const whole = (fc1: Tensor, fc2: Tensor): Tensor => {
      const { near, smooth } = lossOf(fc1, fc2);
      return tf.add(tf.mul(near, weight), tf.mul(smooth, params.smooth_weight));
    };
    const grads = tf.grads(whole)([...head]);
    return grads.map((g) => tf.clipByValue(g, -params.grad_clip, params.grad_clip));
  });
  return { logits, steps, gradients: found };
}

/**
 * Tokens before the questions, and the largest logit that each of their keys receives from the tokens behind.
 * @returns target [recall, KV heads]
 */
function lessonOf(
  model: Model,
  run: ForwardResult,
  layer: number,
  recall: number,
): { tokens: TokenVectors; target: Tensor } {
  const { config } = model;
  const { n_heads: H, n_key_value_heads: G, d_head: D, attn_scale, attn_scores_soft_cap } = config;
  const at = (name: (typeof LOOKS)[number]): Tensor => tf.squeeze(run.activations.get(blockHook(layer, name))!, [0]);
  const { qNorm, kNorm } = model.weights.blocks[layer]!;
  const [q, k] = [normaliseHeads(at("attn.hook_q"), qNorm, config), normaliseHeads(at("attn.hook_k"), kNorm, config)];
  const rotary = config.positional_embedding_type === "rotary";
  const [queries, keys] = rotary ? [at("attn.hook_rot_q"), at("attn.hook_rot_k")] : [q, k];
  const total = queries.shape[0]!;
  const early = (t: Tensor, heads: number): Tensor => tf.slice(t, [0, 0, 0], [recall, heads, D]);
  const late = tf.slice(queries, [recall, 0, 0], [total - recall, H, D]);
  const byGroup = tf.reshape(tf.transpose(late, [1, 0, 2]), [G, (H / G) * (total - recall), D]);
  const products = tf.matMul(byGroup, tf.transpose(early(keys, G), [1, 2, 0])); // [KV heads, group * later queries, recall]
  const scores = softCap(tf.mul(products, attn_scale), attn_scores_soft_cap);
  const seen = seenBy(config, { layer, recall, total }); // [later queries, recall]
  const hidden = tf.mul(tf.sub(1, seen), -1e9);
  const masked = tf.add(tf.reshape(scores, [H, total - recall, recall]), hidden);
  const most = tf.max(tf.reshape(masked, [G, (H / G) * (total - recall), recall]), 1); // [KV heads, recall]
  // A key that no later query reaches, in a layer of local attention, is worth as little as any.
  const reached = tf.where(tf.greater(most, -1e8), most, tf.broadcastTo(tf.min(scores), most.shape));
  return {
    tokens: { q: early(q, H), k: early(k, G), v: early(at("attn.hook_v"), G) },
    target: tf.transpose(reached),
  };
}

/** 1 where a later query reaches a key, else 0 [total - recall, recall]. */
function seenBy(
  config: ModelConfig,
  { layer, recall, total }: { layer: number; recall: number; total: number },
): Tensor {
  const local = localWindow(config, layer) ?? total;
  const age = tf.sub(tf.reshape(tf.range(recall, total), [-1, 1]), tf.reshape(tf.range(0, recall), [1, -1]));
  return tf.cast(tf.less(age, local), "float32");
}

/** Mean of Huber's loss with its bend at 1. */
function smoothL1(x: Tensor): Tensor {
  const size = tf.abs(x);
  const bent = tf.minimum(size, 1);
  return tf.mean(tf.sub(tf.mul(size, bent), tf.mul(tf.square(bent), 0.5)));
}
