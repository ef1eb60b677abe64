import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { evenParameters, kept, momentParameter, sinksParameter } from "../kinds/parameters.ts";
import { tokenPolicy } from "../kinds/tokens.ts";

/** The first tokens and the most recent ones. */
export const streamingLlm = tokenPolicy({
  name: "streaming-llm",
  title: "Attention sinks and recent tokens",
  description:
    "Every KV head keeps the first `sinks` tokens and the most recent ones. What stands between goes, whatever it says: a needle there is lost.",
  source: "Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks",
  parameters: z.object({ ...evenParameters, ...sinksParameter, ...momentParameter }),
  least: ({ sinks }) => sinks + 1,
  score({ kvHeads, held, prompt }, params) {
    const gone = held - kept(params, prompt);
    const place = tf.range(0, held);
    const middle = tf.logicalAnd(tf.greaterEqual(place, params.sinks), tf.less(place, params.sinks + gone));
    return tf.broadcastTo(tf.cast(tf.logicalNot(middle), "float32"), [kvHeads, held]);
  },
});
