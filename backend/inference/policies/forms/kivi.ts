import { z } from "zod";
import { formPolicy } from "../kinds/form.ts";
import { groupParameter, recentParameter } from "../kinds/parameters.ts";

/** Whole numbers of few bits: keys with scales by channel, values with scales by token. */
export const kivi = formPolicy({
  name: "kivi",
  title: "KIVI",
  description:
    "Keys are rounded to 2^bits steps between the least and the largest of each channel over some tokens, values to as many between " +
    "those of each token over some channels.",
  source: "Liu et al. 2024, KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache",
  parameters: z.object({
    bits: z.literal([2, 3, 4, 6, 8]).default(4).describe("of a number"),
    ...groupParameter,
    ...recentParameter,
  }),
  form: ({ bits, group, recent }) => ({ kind: "kivi", bits, group, recent }),
});
