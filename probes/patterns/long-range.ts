import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { fitLength, patternProbe } from "../base.ts";
import { haystackFor } from "../haystack.ts";

const TOKENS = 512;

const parameters = z.object({
  length: z.int().min(16).default(TOKENS).describe("tokens of the generated texts: needle questions"),
  samples: z.int().min(1).default(4).describe("texts, where no tokens are given"),
  queries: z.int().min(1).default(64).describe("last tokens whose attention counts, as MInference's search has it"),
  sinks: z.int().min(0).default(16).describe("first tokens of the A-shape (MInference: 100)"),
  recent: z.int().min(1).default(64).describe("last tokens of the A-shape (MInference: 800)"),
});

/** Heads whose late queries look beyond first and recent tokens: the attention that MInference's A-shape would miss. */
export const longRange = patternProbe({
  name: "long-range",
  title: "Attention that an A-shape misses",
  description:
    "1 less the attention that an A-shape recalls: of the last `queries` tokens, the mean share that goes neither to the first `sinks` tokens nor to the last `recent` ones. " +
    "MInference's search compares its patterns by recalled attention; a head that scores near 0 here is an A-shape head.",
  source: "Jiang et al. 2024, MInference 1.0, section 3.2",
  parameters,
  meaning: {
    meaning: "Share of the last queries' attention that goes neither to first nor to recent tokens.",
    range: [0, 1],
    chance({ length, queries, sinks, recent }) {
      const sees = Array.from({ length: queries }, (_, i) => length - i);
      return sees.reduce((sum, keys) => sum + Math.max(0, keys - sinks - recent) / keys, 0) / queries;
    },
  },
  adapt({ config }, params, { tokens }) {
    const length = tokens
      ? Math.min(...tokens.map((row) => row.length))
      : fitLength("length", params.length, TOKENS, config.n_ctx);
    const { queries, sinks, recent } = params;
    if (length - queries >= sinks + recent) return { ...params, length, samples: tokens?.length ?? params.samples };
    throw new HeadscopeError(
      "usage",
      `the last ${queries} of ${length} tokens see no others than first and recent ones`,
      {
        remedy: `give longer texts, or fewer of queries, sinks (${sinks}) and recent (${recent})`,
        field: ["length", "queries", "sinks", "recent"],
      },
    );
  },
  rows(model, { length, samples }, { tokens, seed = 0 }) {
    if (tokens) return tokens.map((row) => row.slice(0, length));
    return Array.from({ length: samples }, (_, i) => {
      const depth = samples === 1 ? 0.5 : i / (samples - 1);
      return haystackFor(model, { tokens: length, depth, seed: seed * 1000 + i }).ids;
    });
  },
  sums: ({ length, queries, sinks, recent }) => ({
    score: {
      kind: "sum",
      name: `beyond ${sinks} and ${recent} of the last ${queries} of ${length}`,
      // Positions are whole numbers: each factor is 0 or 1.
      weight(query, key) {
        const inside = (x: ReturnType<typeof tf.sub>) => tf.clipByValue(x, 0, 1);
        const late = tf.mul(inside(tf.sub(query, length - queries - 1)), inside(tf.sub(length, query)));
        const beyond = tf.mul(inside(tf.sub(key, sinks - 1)), inside(tf.sub(tf.sub(query, key), recent - 1)));
        return tf.mul(beyond, tf.div(late, queries));
      },
    },
  }),
});
