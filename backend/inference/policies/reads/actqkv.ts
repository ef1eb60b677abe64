import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { halfToEven, readParameters } from "../kinds/parameters.ts";
import { type ReadView, readPolicy } from "../kinds/reads.ts";
import { inUnit } from "../kinds/units.ts";
import { placesOf, stretchesOf } from "../work/stretches.ts";
import { grouped, scoresOver } from "./attention-over.ts";

/** A layer's queries so far, its blocks of keys, and how the tokens look at them. */
interface Probed {
  readonly [name: string]: unknown;
  /** Queries that `sum` [heads, d_head] adds up. */
  readonly seen: number;
  readonly sum: Tensor;
  readonly blocks: number;
  /** Mean keys [KV heads, blocks, d_head], and weights of the probe over them [KV heads, blocks]; undefined of none. */
  readonly means: Tensor | undefined;
  readonly weights: Tensor | undefined;
  /** Of the weights, in nats. */
  readonly entropy: number;
}

/** Stands for shares that float32 has no number for: a share of zero adds nothing to an entropy. */
const LEAST = 1e-37;

/** Blocks that tokens with unusual activations ask for. */
export const actqkv = readPolicy({
  name: "actqkv",
  title: "Blocks that unusual queries ask for",
  description:
    "Tokens that go through the model together ask with one probe: their queries, weighted by how far each lies from the mean of all " +
    "queries so far. They read the blocks whose mean keys the probe attends to, and more in layers where it is undecided. A new token is " +
    "its own probe; parts of a prompt of 512 tokens, and what follows a prefix, choose among the tokens before them.",
  source:
    "Xiao et al. 2025, ActQKV: Activation-aware Probe-Query, Effective Key-Value Retrieval for Long-Context Inference",
  parameters: z.object({
    ...readParameters,
    block: inUnit("tokens", z.int().min(1).default(32).describe("keys of a block")),
  }),
  inPrompt: "chooses",
  least: ({ block }) => block,
  learn(view: ReadView, before: Probed | undefined, { block }): Probed {
    const { held, moved, tokens, kvHeads, config, queries, keysOf } = view;
    const { probe, sum, seen } = probed(queries, before);
    const [known, blocks] = [moved ? 0 : (before?.blocks ?? 0), Math.floor((held - tokens) / block)];
    let means = known === 0 ? undefined : before?.means;
    if (blocks > known) {
      const keys = keysOf(known * block, (blocks - known) * block);
      const fresh = tf.mean(tf.reshape(keys, [kvHeads, blocks - known, block, config.d_head]), 2);
      means = means ? tf.concat([means, fresh], 1) : fresh;
    }
    if (!means) return { seen, sum, blocks, means, weights: undefined, entropy: 0 };
    const weights = tf.mean(grouped(tf.softmax(scoresOver(view, probe, means)), kvHeads), 1);
    const nats = tf.sum(tf.mul(weights, tf.log(tf.maximum(weights, LEAST))), 1);
    return { seen, sum, blocks, means, weights, entropy: -tf.mean(nats).dataSync()[0]! };
  },
  choose({ held, budget }, { blocks, weights, entropy }: Probed, { block }, layers) {
    const known = layers.map((each) => (each as Probed | undefined)?.entropy);
    const take = blocksOf(budget / block, entropy, known);
    if (!weights || take >= blocks) return undefined;
    return placesOf(weights, take).map((chosen) =>
      stretchesOf([...chosen.map((i) => [i * block, (i + 1) * block] as const), [blocks * block, held]]),
    );
  },
});

/** The probe of tokens that go through the model together [heads, 1, d_head], and the sum of all queries so far. @param queries [heads, tokens, d_head] */
function probed(queries: Tensor, before: Probed | undefined): Pick<Probed, "sum" | "seen"> & { probe: Tensor } {
  const [heads, tokens, width] = queries.shape as [number, number, number];
  const [seen, earlier] = [before?.seen ?? 0, before ? tf.expandDims(before.sum, 1) : tf.zeros([heads, 1, width])];
  const sums = tf.add(tf.cumsum(queries, 1), earlier); // of the queries up to each
  const means = tf.div(sums, tf.reshape(tf.range(seen + 1, seen + tokens + 1), [1, tokens, 1]));
  const sum = tf.reshape(tf.slice(sums, [0, tokens - 1, 0], [heads, 1, width]), [heads, width]);
  if (tokens === 1) return { probe: queries, sum, seen: seen + 1 };
  const far = tf.norm(tf.sub(queries, means), 2, 2, true); // [heads, tokens, 1]
  const probe = tf.div(tf.sum(tf.mul(queries, far), 1, true), tf.sum(far, 1, true));
  return { probe, sum, seen: seen + tokens };
}

/**
 * Blocks that a layer reads: a share of all layers' by its entropy.
 * @param budget blocks a layer, on average
 * @param entropies of all layers; those not known count as the layer's own
 */
function blocksOf(budget: number, own: number, entropies: readonly (number | undefined)[]): number {
  const sum = entropies.reduce<number>((sum, entropy) => sum + (entropy ?? own), 0);
  return Math.max(1, halfToEven(sum > 0 ? (budget * entropies.length * own) / sum : budget));
}
