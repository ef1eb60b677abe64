import { z } from "zod";
import { REPORT_VERDICTS } from "../words.ts";
import type { Data } from "./fields.ts";

/** Schema of a report that is kept, as lists have it. */
const keptReport = z.object({
  id: z.string().describe("name of its folder; tells it from every other one"),
  preset: z.string(),
  changed: z
    .array(z.object({ name: z.string(), value: z.string() }))
    .describe("what it was made with beside the preset"),
  created: z.string().describe("ISO time"),
  summary: z.string(),
  verdicts: z.record(z.string(), z.number()).describe("claims by verdict"),
  claims: z
    .array(z.object({ id: z.string(), verdict: z.enum(REPORT_VERDICTS), why: z.string() }))
    .describe("what became of every claim"),
  figure: z.string().optional().describe("title of its central figure, which is the first; absent where it has none"),
});
export type KeptReport = Data<typeof keptReport>;

/** Schema of an experiment with its reports. */
export const experimentEntry = z.object({
  name: z.string(),
  title: z.string(),
  reports: z.array(keptReport).describe("every report that is kept, newest first"),
});
export type ExperimentEntry = Data<typeof experimentEntry>;

const comparedClaim = z.object({
  verdict: z.enum(REPORT_VERDICTS),
  why: z.string(),
  measured: z.record(z.string(), z.union([z.number(), z.string(), z.null()])),
});
/** One side of a claim in a comparison. */
export type ComparedClaim = Data<typeof comparedClaim>;

/** Schema of two reports of one experiment beside each other. */
export const reportComparison = z.object({
  parameters: z
    .array(z.object({ name: z.string(), values: z.array(z.string().nullable()) }))
    .describe("parameters that differ, the preset among them; null where a report has none"),
  claims: z
    .array(
      z.object({
        id: z.string(),
        statement: z.string(),
        same: z.boolean().describe("true where the two came to the same verdict"),
        results: z.array(comparedClaim.nullable()).describe("null where that report does not have the claim"),
      }),
    )
    .describe("every claim of either, in the order of the first"),
});
export type ReportComparison = Data<typeof reportComparison>;
