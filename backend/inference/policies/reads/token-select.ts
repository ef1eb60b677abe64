import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { readParameters } from "../kinds/parameters.ts";
import { type ReadView, readPolicy, type Stretch } from "../kinds/reads.ts";
import { inUnit } from "../kinds/units.ts";
import { placesOf, single, stretchesOf } from "../work/stretches.ts";
import { meanQuery, scoresOver } from "./attention-over.ts";

/** A choice, and the query that it was made by. */
interface Made {
  readonly [name: string]: unknown;
  /** Of all heads, the mean of the tokens' [heads * d_head]. */
  readonly query: Tensor;
  /** Undefined where there was nothing to choose among. */
  readonly places: readonly number[] | undefined;
  /** Place before which it was made among all. */
  readonly end: number;
}

/** Queries whose votes are worked out together. */
const TOGETHER = 64;

/** Tokens that the heads vote for, until the query turns. */
export const tokenSelect = readPolicy({
  name: "token-select",
  title: "Tokens that the heads vote for",
  description:
    "All heads of a layer read the same tokens: the first, the recent, and those between with the largest sum of the heads' attention. The " +
    "choice stays while the query points where the one pointed that it was made by, until as many tokens have come as are recent. Parts of " +
    "a prompt of 512 tokens, and what follows a prefix, choose together, by the votes of all of their queries, among the tokens before them.",
  source: "Wu et al. 2024, TokenSelect: Efficient Long-Context Inference via Dynamic Token-Level KV Cache Selection",
  parameters: z.object({
    ...readParameters,
    sinks: inUnit("tokens", z.int().min(0).default(16).describe("first tokens that are always read")),
    recent: inUnit(
      "tokens",
      z.int().min(1).default(64).describe("last tokens that are always read, the new one among them"),
    ),
    similarity: z.number().min(-1).max(1).default(0.9).describe("cosine of queries above which a choice stays"),
  }),
  inPrompt: "chooses",
  least: ({ sinks, recent }) => sinks + recent + 1,
  learn(view: ReadView, before: Made | undefined, { sinks, recent, similarity }): Made {
    const query = tf.reshape(meanQuery(view), [-1]);
    const end = view.held - view.tokens + 1 - recent;
    const stands = before?.places && !view.moved && end - before.end <= recent;
    if (stands && cosine(query, before.query) > similarity) return before;
    if (end <= sinks) return { query, places: undefined, end };
    const [places] = placesOf(votesOf(view, view.keysOf(sinks, end - sinks)), view.budget - sinks - recent) as [
      number[],
    ];
    return { query, places: places.map((place) => sinks + place), end };
  },
  choose({ held, tokens, budget, kvHeads }, { places }: Made, { sinks, recent }) {
    const before = held - tokens;
    if (!places || before + 1 <= budget) return undefined;
    const read: Stretch[] = [[0, sinks], ...single(places), [before + 1 - recent, held]];
    return new Array<readonly Stretch[]>(kvHeads).fill(stretchesOf(read));
  },
});

/** Attention of all queries of all heads to keys, added up [1, keys]. @param keys [KV heads, keys, d_head] */
function votesOf(view: ReadView, keys: Tensor): Tensor {
  const [heads, tokens, width] = view.queries.shape as [number, number, number];
  const parts = Array.from({ length: Math.ceil(tokens / TOGETHER) }, (_, i) =>
    tf.tidy(() => {
      const size = Math.min(TOGETHER, tokens - i * TOGETHER);
      const queries = tf.slice(view.queries, [0, i * TOGETHER, 0], [heads, size, width]);
      return tf.sum(tf.softmax(scoresOver(view, queries, keys)), 0, true);
    }),
  );
  return parts.length === 1 ? parts[0]! : tf.addN(parts);
}

function cosine(a: Tensor, b: Tensor): number {
  return tf.div(tf.sum(tf.mul(a, b)), tf.mul(tf.norm(a), tf.norm(b))).dataSync()[0]!;
}
