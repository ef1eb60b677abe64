import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { budgetParameters } from "../kinds/parameters.ts";
import { type MergedRows, tokenPolicy } from "../kinds/tokens.ts";
import { h2o } from "./h2o.ts";

/** Ways to merge what goes into what stays. */
const MERGES = ["averaged", "pivotal", "weighted"] as const;
type Merge = (typeof MERGES)[number];

/** Heavy hitters and recent tokens, into which the others are merged. */
export const lookM = tokenPolicy({
  name: "look-m",
  title: "What goes is merged into what stays",
  description:
    "Keeps what h2o keeps at the end of a prompt. Every key that goes is then merged into the kept key of its KV head that is most similar to " +
    "it by cosine, and its value into that key's value.",
  source: "Wan et al. 2024, LOOK-M: Look-Once Optimization in KV Cache for Efficient Multimodal Long-Context Inference",
  parameters: z.object({
    ...budgetParameters,
    merge: z
      .enum(MERGES)
      .default("pivotal")
      .describe(
        "averaged: mean of the kept key and those that go; pivotal: these count half, the kept key for the rest; weighted: by similarity",
      ),
  }),
  queries: () => ({ of: "all" }),
  observe: (view, sums) => h2o.observe!(view, sums, H2O),
  score: (view, params, sums) => h2o.score(view, { ...H2O, ...params }, sums),
  merge({ keys, values, held, kvHeads }, stay, { merge }) {
    const heads = Array.from({ length: kvHeads }, (_, g) => {
      const own = (t: Tensor): Tensor => tf.squeeze(tf.slice(t, g, 1), [0]); // [held, d]
      // One head after the other: similarities of all pairs are large.
      return tf.tidy(() => Object.values(merged({ keys: own(keys), values: own(values) }, stay[g]!, held, merge)));
    }) as [Tensor, Tensor][];
    return { keys: tf.stack(heads.map(([k]) => k)), values: tf.stack(heads.map(([, v]) => v)) };
  },
});

/** Parameters of h2o beside the budget. */
const H2O = { when: "prefill", rerotate: false } as const;

/** Kept rows of one head with the others merged into them. @param rows [held, d] @param stay places, ascending @returns [kept, d] */
function merged(rows: MergedRows, stay: readonly number[], held: number, merge: Merge): MergedRows {
  const stays = new Set(stay);
  const gone = Array.from({ length: held }, (_, place) => place).filter((place) => !stays.has(place));
  const [into, from] = [stay, gone].map((places) => tf.tensor1d(places as number[], "int32")) as [Tensor, Tensor];
  const pick = (t: Tensor, places: Tensor): Tensor => tf.gather(t, places as ReturnType<typeof tf.tensor1d>);
  const unit = (t: Tensor): Tensor => tf.div(t, tf.norm(t, 2, 1, true));
  const cosines = tf.matMul(unit(pick(rows.keys, from)), unit(pick(rows.keys, into)), false, true); // [gone, kept]
  const target = tf.argMax(cosines, 1) as ReturnType<typeof tf.tensor1d>;
  const similar = tf.max(cosines, 1, true); // [gone, 1]
  const sumInto = (t: Tensor): Tensor => tf.unsortedSegmentSum(t, target, stay.length);
  const count = sumInto(tf.onesLike(similar)); // [kept, 1]
  const of = (t: Tensor): Tensor => {
    const [kept, extra] = [pick(t, into), pick(t, from)];
    const added = {
      averaged: () => sumInto(extra),
      pivotal: () => tf.div(tf.add(sumInto(extra), tf.mul(count, kept)), 2),
      weighted: () => sumInto(tf.mul(similar, extra)),
    }[merge]();
    return tf.div(tf.add(kept, added), tf.add(count, 1));
  };
  return { keys: of(rows.keys), values: of(rows.values) };
}
