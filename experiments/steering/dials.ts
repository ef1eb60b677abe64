import { z } from "zod";
import { LABELLED_TEXTS, type LabelledTexts } from "../../synthetic-tasks/demonstrations/index.ts";
import type { MeasurementPlan } from "../base.ts";
import { type SteeringSettings, type SteeringValues, steeringValues } from "./measure.ts";

/** Reviews, positive or negative: the texts that are steered. */
export const REVIEWS: LabelledTexts = LABELLED_TEXTS.find(({ name }) => name === "sentiment")!;

/** Schema of a dial's places in one direction. */
export const ascending = z
  .array(z.number().positive())
  .min(2)
  .max(8)
  .refine((values) => values.every((value, i) => i === 0 || value > values[i - 1]!), "give them in ascending order");

/** The measurements of a vector, one a seed. @param label the vectors in words */
export function steeringPlans(
  label: string,
  { model, seeds, ...settings }: Omit<SteeringSettings, "seed"> & { model: string; seeds: readonly number[] },
  measure: (
    model: Parameters<MeasurementPlan["measure"]>[0],
    settings: SteeringSettings,
    means: Parameters<MeasurementPlan["measure"]>[1],
  ) => Promise<SteeringValues>,
): MeasurementPlan<typeof steeringValues>[] {
  return seeds.map((seed) => {
    const own = { seed, ...settings };
    return {
      name: label,
      label,
      model,
      settings: { ...own, revision: 1 },
      values: steeringValues,
      measure: (loaded, means) => measure(loaded, own, means),
    };
  });
}
