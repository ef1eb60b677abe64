import { z } from "zod";
import { MINIFLOAT_NAMES } from "../../../models/cache/forms/form.ts";
import { formPolicy } from "../kinds/form.ts";
import { groupParameter, recentParameter } from "../kinds/parameters.ts";

/** Small floats in the place of whole numbers. */
export const minifloat = formPolicy({
  name: "minifloat",
  title: "Minifloats",
  description:
    "Keys and values are rounded to floats of 4, 6 or 8 bits, each group scaled so that its largest number is the largest float.",
  source:
    "Rouhani et al. 2023, Microscaling Data Formats for Deep Learning; Micikevicius et al. 2022, FP8 Formats for Deep Learning",
  parameters: z.object({
    format: z.enum(MINIFLOAT_NAMES).default("E4M3").describe("bits of the exponent and of the mantissa, beside a sign"),
    ...groupParameter,
    ...recentParameter,
  }),
  form: ({ format, group, recent }) => ({ kind: "minifloat", format, group, recent }),
});
