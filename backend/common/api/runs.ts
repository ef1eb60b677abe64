import { z } from "zod";
import { SHOWN_STATUSES } from "../words.ts";
import { type Bounds, type Data, documentId, type Input, parameters, seedSchema, shortName } from "./fields.ts";
import { jobSummarySchema } from "./jobs.ts";

/** Schema of a training run as lists have it. */
export const runSummarySchema = z.object({
  id: z.string(),
  task: z.string(),
  status: z.enum(SHOWN_STATUSES),
  step: z.int(),
  steps: z.int(),
  seed: z.int(),
  group: z.string().describe("runs that are trained together share it"),
  job: z.int().optional().describe("the job that trained it last"),
  error: z.string().optional(),
  created: z.string(),
  updated: z.string(),
  tokens: z.boolean().describe("true where its model reads tokens, so that probes can read it"),
});
export type RunSummary = Data<typeof runSummarySchema>;

const values = z.record(z.string(), z.unknown());

/** Schema of a run with its specification, checkpoints and last measurements. */
export const runDetail = runSummarySchema.extend({
  spec: z.object({
    task: z.string(),
    params: values,
    model: values,
    training: values,
    probes: z.array(z.string()),
  }),
  checkpoints: z.array(z.int()).describe("steps with a checkpoint, ascending: `run:ID@STEP` names each"),
  last: z.record(z.string(), z.number().nullable()).describe("the last value of each metric"),
  command: z.string().describe("the command line that trains it"),
  evaluations: z
    .record(
      z.string(),
      z.object({
        title: z.string(),
        chance: z.object({ accuracy: z.number().optional(), loss: z.number().optional() }).optional(),
      }),
    )
    .optional()
    .describe("what its evaluations are measured on, by name, and what guessing reaches there"),
  evenScores: z
    .record(z.string(), z.number())
    .optional()
    .describe(
      "scores of a head that attends evenly by the probes that are measured along, by PROBE.METRIC; those that do not tell are absent",
    ),
});
export type RunDetail = Data<typeof runDetail>;

/** Schema of the curves of a run. */
export const runCurves = z
  .record(z.string(), z.array(z.tuple([z.int(), z.number().nullable()])))
  .describe("by name, [step, value] ascending; null where a value was not a number");
export type RunCurves = Data<typeof runCurves>;

/** Schema of a request to train: one run a seed, together in one job. */
export function trainRequest({ seeds }: Bounds) {
  return z.strictObject({
    task: shortName,
    params: parameters.optional(),
    seeds: z.array(seedSchema).min(1).max(seeds).optional().describe("default 0"),
    probes: z.array(shortName).max(16).optional().describe("measured along; default as the task has them"),
  });
}
export type TrainRequest = Input<typeof trainRequest>;

/** Schema of what a request to train answers. */
export const trainingSchema = z.object({ job: jobSummarySchema, runs: z.array(runSummarySchema) });
export type Training = Data<typeof trainingSchema>;

/** Schema of a run's id in a query. */
export const runId = z
  .string()
  .max(200)
  .regex(/^[a-z0-9][a-z0-9-]*$/i, "must be a run's id");

/** Schema of a probe's scores over the checkpoints of a run, as lists have it. */
export const historyEntry = z.object({ id: documentId, run: z.string(), probe: z.string() });
