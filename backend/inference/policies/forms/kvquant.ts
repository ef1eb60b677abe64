import { z } from "zod";
import { formPolicy } from "../kinds/form.ts";
import { recentParameter } from "../kinds/parameters.ts";

/** Levels that are learned of the prompt's own keys and values. */
export const kvquant = formPolicy({
  name: "kvquant",
  title: "KVQuant",
  description:
    "Keys before the rotation are rounded by channel, values by token, to levels that k-means finds in each layer's prompt; the numbers " +
    "furthest out and the first token stay as they are. Each number weighs the same: nothing stands for the paper's Fisher information.",
  source: "Hooper et al. 2024, KVQuant: Towards 10 Million Context Length LLM Inference with KV Cache Quantization",
  parameters: z.object({
    bits: z.literal([2, 3, 4]).default(3).describe("of a number"),
    outliers: z
      .number()
      .min(0)
      .max(0.2)
      .default(0.01)
      .describe("share of each vector that stays as it is, half at either end, rounded up"),
    ...recentParameter,
  }),
  form: ({ bits, outliers, recent }) => ({ kind: "kvquant", bits, outliers, recent }),
});
