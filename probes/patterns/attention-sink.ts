import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { Random, randomRows } from "../../backend/common/random.ts";
import { tokenPool } from "../../backend/models/tokens.ts";
import { kernelOf } from "../../backend/models/transformer/kernels/index.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { evenAttention, fitLength, meanMetric, meanTable, patternProbe, summarise } from "../base.ts";

const TOKENS = 64;

const parameters = z.object({
  tokens: z.int().min(2).default(TOKENS).describe("T: tokens of a row that count"),
  epsilon: z
    .number()
    .min(0)
    .max(1)
    .default(0.3)
    .describe("importance above which a head is a sink, as a share of attention"),
  samples: z.int().min(1).default(100).describe("random sequences, where no tokens are given"),
  k: z.int().min(0).default(0).describe("position of the token that may be a sink, 0-based"),
});

/** Heads that rest on one early token whatever the text says. */
export const attentionSink = patternProbe({
  name: "attention-sink",
  title: "Attention sinks",
  description:
    "Importance of token k: attention to it from all queries at or after it, as a mean over them. `attention-sink` is the share of rows in which " +
    "that exceeds epsilon, `importance` its mean. Rows are BOS and random tokens unless given; Gu et al. use natural text, which gives much the same. Where the weights of a " +
    "query do not sum to 1, as with sigmoids, they are taken over their sum (the paper's proxy scores).",
  source: "Gu et al. 2024, When Attention Sink Emerges in Language Models",
  parameters,
  meanings: {
    importance: {
      meaning:
        "Share of attention that token k, the first unless said otherwise, gets from all queries at or after it.",
      range: [0, 1],
      chance: ({ tokens, k }) => evenAttention(k, tokens - 1),
    },
    "attention-sink": {
      meaning: "Share of the rows in which token k gets more than epsilon of all attention.",
      range: [0, 1],
      chance: ({ tokens, k, epsilon }) => (evenAttention(k, tokens - 1) > epsilon ? 1 : 0),
    },
  },
  adapt(model, params, context) {
    const most = Math.min(model.config.n_ctx, ...(context.tokens ?? []).map((row) => row.length));
    const tokens = context.tokens ? params.tokens : fitLength("tokens", params.tokens, TOKENS, most);
    if (tokens > most) {
      throw new HeadscopeError("input", `the shortest row has ${most} tokens and ${tokens} are to count`, {
        remedy: `say tokens=${most}, or give longer rows`,
      });
    }
    if (params.k >= tokens)
      throw new HeadscopeError("usage", `k ${params.k} is not among the first ${tokens} tokens`, {
        remedy: `give at most ${tokens - 1}`,
      });
    return { ...params, tokens, samples: context.tokens?.length ?? params.samples };
  },
  rows(model, { tokens: length, samples }, { tokens, seed = 0 }) {
    // Rows of one length stay whole: later tokens change nothing before them, and other probes may share the pass.
    if (tokens)
      return tokens.every((row) => row.length === tokens[0]!.length)
        ? tokens
        : tokens.map((row) => row.slice(0, length));
    return randomRows(tokenPool(model), samples, length, new Random(seed));
  },
  // Sum over queries k <= i < T of A[i, k] / (T - k).
  sums: ({ tokens, k }, { config }) => ({
    importance: {
      kind: "sum",
      name: `sink ${k} of ${tokens}`,
      shares: !kernelOf(config).normalised,
      weight: (query, key) => {
        const atKey = tf.relu(tf.sub(1, tf.abs(tf.sub(key, k)))); // [1, key]
        const among = tf.clipByValue(tf.sub(tokens, query), 0, 1); // [query, 1]
        return tf.mul(tf.div(among, tokens - k), atKey);
      },
    },
  }),
  scores({ importance }, { epsilon }) {
    const sinks = importance!.map((table) => table.map((row) => row.map((value) => (value > epsilon ? 1 : 0))));
    const share = meanTable(sinks);
    return {
      // Importance first: it tells apart heads that are sinks in as many rows.
      metrics: { importance: meanMetric(importance!), "attention-sink": { axis: "heads", values: share } },
      summary: { ...summarise(share), share: summarise(share)["mean"]! },
    };
  },
});
