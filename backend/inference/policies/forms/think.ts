import { z } from "zod";
import { RATIO } from "../../../common/words.ts";
import { tf } from "../../../runtime/tf.ts";
import type { FormPolicy } from "../kinds/form.ts";

const parameters = z.object({
  ratio: z.number().min(0).lt(1).default(RATIO).describe("share of the key channels of a head that are set to 0"),
  window: z.int().min(1).default(32).describe("last tokens of the prompt whose queries are looked at"),
});

/** Key channels of little weight are 0. */
export const think: FormPolicy<typeof parameters> = {
  name: "think",
  title: "Key channels of little weight are 0",
  description:
    "Of each KV head the channels of the prompt's keys are ranked by the mean square of the last queries times the mean square of the keys, " +
    "and the lowest are set to 0; values and the keys of new tokens keep all. The zeros stay in memory: what this shows is how well the " +
    "model does without these channels, not bytes or time.",
  source: "Xu et al. 2024, ThinK: Thinner Key Cache by Query-Driven Pruning",
  chooses: "form",
  parameters,
  window: ({ window }) => window,
  // mean over the last queries of q_c² (mean over the group), times the mean over the keys of k_c²
  channels({ queries, keys, config: { d_head } }, { ratio }) {
    const ofQueries = tf.mean(tf.square(queries), [0, 1]); // [d_head]
    const ofKeys = tf.mean(tf.square(keys), [0, 1]);
    const count = d_head - Math.trunc(d_head * ratio);
    return [...tf.topk(tf.mul(ofQueries, ofKeys), count).indices.dataSync()].sort((a, b) => a - b);
  },
};
