import { z } from "zod";
import { type Data, parameters, seedSchema, shortName } from "./fields.ts";

/** Sequences that a page can ask for at once. */
const MOST_ROWS = 8;

/** Schema of a request for sequences of a task that models are trained on. */
export const taskSampleRequest = z.strictObject({
  task: shortName,
  params: parameters.optional().describe("the task's own"),
  count: z.int().min(1).max(MOST_ROWS).default(1),
  seed: seedSchema.default(0),
});

/** Schema of the sequences, as models of the first step of a run with this seed see them. */
export const taskSample = z.object({
  task: z.string(),
  params: z.record(z.string(), z.unknown()).describe("complete"),
  seed: z.int(),
  texts: z.array(z.string()).describe("each in words"),
});
export type TaskSample = Data<typeof taskSample>;

const level = z.object({
  loss: z.number().optional().describe("absent where it gave no probability to something that came"),
  accuracy: z.number().optional(),
});

/** Schema of what a task's reference predictor reaches on the rows on which a run is evaluated. */
export const runReference = z.object({
  title: z.string().optional().describe("the predictor; absent where the task has none"),
  evaluations: z.record(z.string(), level).describe("by the evaluation's name"),
});
export type RunReference = Data<typeof runReference>;
