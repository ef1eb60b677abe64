import { z } from "zod";
import { RATIO } from "../../../common/words.ts";
import type { ModelConfig } from "../../../models/config.ts";
import { tf } from "../../../runtime/tf.ts";
import { formPolicy } from "../kinds/form.ts";
import { inUnit } from "../kinds/units.ts";

/** Key channels of little weight are dropped. */
export const think = formPolicy({
  name: "think",
  title: "Key channels of little weight are dropped",
  description:
    "Of each KV head the channels of the prompt's keys are ranked by the mean square of the last queries times the mean square of the keys, " +
    "and the lowest are dropped: the keys are held in the others alone, and queries read these. Values and the keys of new tokens keep all.",
  source: "Xu et al. 2024, ThinK: Thinner Key Cache by Query-Driven Pruning",
  parameters: z.object({
    ratio: z.number().min(0).lt(1).default(RATIO).describe("share of the key channels of a head that is dropped"),
    window: inUnit(
      "tokens",
      z.int().min(1).default(32).describe("last tokens of the prompt whose queries are looked at"),
    ),
    zeroed: z
      .boolean()
      .default(false)
      .describe("sets these channels to 0 and frees nothing, as kvpress does: the same scores"),
  }),
  window: ({ window }) => window,
  keyChannels: (config, { ratio, zeroed }) => (zeroed ? config.d_head : staying(config, ratio)),
  // mean over the last queries of q_c² (mean over the group), times the mean over the keys of k_c²
  channels({ queries, keys, config }, { ratio }) {
    const ofQueries = tf.mean(tf.square(queries), [0, 1]); // [d_head]
    const ofKeys = tf.mean(tf.square(keys), [0, 1]);
    const best = tf.topk(tf.mul(ofQueries, ofKeys), staying(config, ratio)).indices;
    return [...best.dataSync()].sort((a, b) => a - b);
  },
});

/** Channels that stay, the same number in every head. */
function staying({ d_head }: ModelConfig, ratio: number): number {
  return d_head - Math.trunc(d_head * ratio);
}
