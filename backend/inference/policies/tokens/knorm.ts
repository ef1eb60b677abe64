import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { normsOf } from "../attention.ts";
import { evenParameters, momentParameter } from "../kinds/parameters.ts";
import { tokenPolicy } from "../kinds/tokens.ts";

/** Keys of the smallest norms. */
export const knorm = tokenPolicy({
  name: "knorm",
  title: "Keys of small norm",
  description: "Each KV head keeps the keys of the smallest L2 norm, which tend to be those that are attended to.",
  source: "Devoto et al. 2024, A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression",
  parameters: z.object({ ...evenParameters, ...momentParameter }),
  ofKeys: normsOf,
  score: (_, __, norms) => tf.neg(norms!),
});
