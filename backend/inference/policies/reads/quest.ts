import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { readParameters } from "../kinds/parameters.ts";
import { readPolicy } from "../kinds/reads.ts";
import { inUnit } from "../kinds/units.ts";
import { placesOf, stretchesOf } from "../work/stretches.ts";

/** Bounds of the keys of whole pages [KV heads, pages, 2 d_head]: in each channel the most, then the least; undefined of none. */
interface Bounds {
  readonly [name: string]: unknown;
  readonly pages: number;
  readonly bounds: Tensor | undefined;
}

/** Fewest pages that are read. */
const LEAST = 3;

/** Pages of keys whose bounds promise the most attention. */
export const quest = readPolicy({
  name: "quest",
  title: "Pages that may matter to the token",
  description:
    "Keys lie in pages of 16, of which the least and the most in each channel are known. A new token reads the pages whose bounds allow " +
    "the largest product with its query, by the mean of the KV head's queries, at least 3 and always its own.",
  source: "Tang et al. 2024, Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference",
  parameters: z.object({
    ...readParameters,
    dense: readParameters.dense.default(2),
    page: inUnit("tokens", z.int().min(1).default(16).describe("keys of a page")),
  }),
  least: ({ page }) => LEAST * page,
  // The page of the token itself is read anyway: bounds are needed of those before it.
  learn({ held, kvHeads, config: { d_head }, keysOf }, before: Bounds | undefined, { page }): Bounds {
    const { pages: known, bounds } = before ?? { pages: 0, bounds: undefined };
    const pages = Math.floor((held - 1) / page);
    if (before && pages === known) return before;
    if (pages === known) return { pages, bounds };
    const keys = tf.reshape(keysOf(known * page, (pages - known) * page), [kvHeads, pages - known, page, d_head]);
    const fresh = tf.concat([tf.max(keys, 2), tf.min(keys, 2)], 2);
    return { pages, bounds: bounds ? tf.concat([bounds, fresh], 1) : fresh };
  },
  choose({ held, kvHeads, budget, queries, config: { d_head } }, { pages, bounds }, { page }) {
    const take = Math.max(LEAST, Math.floor(budget / page));
    if (take > pages) return undefined;
    // Σ_c max(q_c min_c, q_c max_c), mean over the group: q above 0 meets the most of a channel, below 0 the least.
    const q = tf.reshape(queries, [kvHeads, -1, d_head]);
    const parts = tf.mean(tf.concat([tf.relu(q), tf.minimum(q, 0)], 2), 1, true); // [KV heads, 1, 2 d_head]
    const scores = tf.squeeze(tf.matMul(parts, bounds!, false, true), [1]); // [KV heads, pages]
    return placesOf(scores, take - 1).map((chosen) =>
      stretchesOf([...chosen.map((i) => [i * page, (i + 1) * page] as const), [pages * page, held]]),
    );
  },
});
