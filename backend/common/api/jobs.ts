import { z } from "zod";
import { SHOWN_STATUSES } from "../words.ts";
import type { Data } from "./fields.ts";

/** Schema of a job as lists have it. */
export const jobSummarySchema = z.object({
  id: z.int(),
  kind: z.string().describe("train, probe, history, needle, mask-search, evaluate, experiment, sweep, pull, export"),
  title: z.string().describe('what it does, in words: "induction on smollm2-135m"'),
  model: z
    .string()
    .optional()
    .describe("the model that it is about, as it was asked for; absent where there is none, or several"),
  status: z.enum(SHOWN_STATUSES),
  progress: z
    .object({
      done: z.number(),
      total: z.number(),
      label: z.string(),
      values: z.record(z.string(), z.number().nullable()).optional(),
    })
    .optional(),
  remaining: z.number().optional().describe("milliseconds that it is likely to take yet; absent before it can be told"),
  result: z.unknown().optional().describe("as the kind of job defines"),
  error: z.string().optional(),
  created: z.string().describe("ISO time, as the others"),
  started: z.string().optional(),
  ended: z.string().optional(),
});
export type JobSummary = Data<typeof jobSummarySchema>;

const needleAnswer = z.object({
  text: z.string(),
  right: z.boolean().describe("true where it holds the answer"),
  bytes: z.number().describe("bytes allocated for keys and values"),
  bytesFull: z.number().describe("the same with every head full"),
  prefillMs: z.number(),
  decodeMsPerToken: z.number(),
});
/** A model's answer to a needle question, and what it took. */
export type NeedleAnswer = Data<typeof needleAnswer>;

/** Schema of one needle question, answered in both ways. */
export const needleTrial = z.object({
  length: z.int().describe("tokens of the prompt"),
  depth: z.number().describe("place of the needle: 0 at the start of the text, 1 at its end"),
  needle: z.int().describe("number of the question among those of this length and depth, from 0"),
  question: z.string(),
  expected: z.string(),
  full: needleAnswer,
  masked: needleAnswer.optional().describe("with the mask and the policies; absent without either"),
});
export type NeedleTrial = Data<typeof needleTrial>;
