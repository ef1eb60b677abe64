import { z } from "zod";
import { HeadscopeError } from "../../backend/common/errors.ts";
import { Random, randomIds, repeatedRows } from "../../backend/common/random.ts";
import type { Model } from "../../backend/models/model.ts";
import { tokenPool } from "../../backend/models/tokens.ts";
import type { PatternSum } from "../../backend/models/transformer/attention.ts";
import { tf } from "../../backend/runtime/tf.ts";
import { fitLength, type ProbeContext } from "../base.ts";

const LENGTH = 50;

/** Parameters of the probes on BOS r r. */
export const repeatedParameters = z.object({
  length: z.int().min(2).default(LENGTH).describe("tokens of r, which is repeated once"),
  samples: z.int().min(1).default(4).describe("random sequences, where no tokens are given"),
});
type Params = z.output<typeof repeatedParameters>;

/** The rows and lengths of the probes on BOS r r; the same for all of them, so that they share one pass. */
export const repeated = {
  adapt(model: Pick<Model, "config">, params: Params, context: ProbeContext): Params {
    const length = context.tokens
      ? params.length
      : fitLength("length", params.length, LENGTH, Math.floor((model.config.n_ctx - 1) / 2));
    return { length, samples: context.tokens?.length ?? params.samples };
  },
  rows(model: Model, { length, samples }: Params, { tokens, seed = 0 }: ProbeContext): number[][] {
    if (!tokens) {
      const pool = tokenPool(model);
      const random = new Random(seed);
      return repeatedRows(pool.first, samples, () => randomIds(pool, length, random));
    }
    tokens.forEach((row, r) => {
      if (repetition(row) === length) return;
      const repeats = repetition(row);
      throw new HeadscopeError("input", `row ${r} (${row.length} tokens) is not BOS r r with r of ${length} tokens`, {
        remedy:
          repeats === undefined
            ? "give a first token and then the same tokens twice: the probe scores repeated rows; a text is scored by probe pattern (docs/texts.md)"
            : `say length=${repeats}, or give other rows`,
      });
    });
    return tokens;
  },
};

/** Tokens of r where a row is BOS r r; undefined where it is not. */
function repetition(row: readonly number[]): number | undefined {
  const length = (row.length - 1) / 2;
  const repeats = Number.isInteger(length) && length > 0 && row.slice(1, 1 + length).every((id, i) => id === row[1 + length + i]); // biome-ignore format: one line
  return repeats ? length : undefined;
}

/**
 * Mean attention to the key `back` positions before the query, over the queries from `first` to `last`.
 * @param back 0 is the query's own position
 */
export function meanAttentionBack(back: number, first: number, last: number): PatternSum {
  return {
    kind: "sum",
    name: `back ${back} from ${first} to ${last}`,
    weight: (query, key) => {
      const hit = (distance: ReturnType<typeof tf.sub>) => tf.relu(tf.sub(1, tf.abs(distance))); // 1 at 0, for whole numbers
      const inside = tf.sub(1, tf.clipByValue(tf.maximum(tf.sub(first, query), tf.sub(query, last)), 0, 1));
      return tf.mul(hit(tf.sub(tf.sub(query, key), back)), tf.div(inside, last - first + 1));
    },
  };
}
