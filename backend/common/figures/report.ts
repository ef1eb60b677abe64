import { z } from "zod";
import { REPORT_VERDICTS } from "../words.ts";
import { figureSchema } from "./figure.ts";

/** Schema of a claim with what was measured. */
const claimSchema = z.object({
  id: z.string(),
  /** The paper's claim, in one sentence. */
  statement: z.string(),
  /** The paper, and where it says so. */
  source: z.string(),
  /** The check, with its thresholds, as it was fixed before the runs. */
  check: z.string(),
  /** By name; null where there was nothing to measure. */
  measured: z.record(z.string(), z.union([z.number(), z.string(), z.null()])),
  verdict: z.enum(REPORT_VERDICTS),
  /** Why this verdict, in one sentence. */
  why: z.string(),
});
/** A claim, and what became of it. */
export type Claim = z.output<typeof claimSchema>;

/** Tag of report documents. */
export const REPORT_FORMAT = "headscope.report/1";

/** Schema of a report: everything that its HTML shows. */
export const reportSchema = z.object({
  format: z.literal(REPORT_FORMAT),
  experiment: z.object({
    name: z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/),
    title: z.string(),
    description: z.string(),
    source: z.string(),
    /** Trials to choose its quick preset and its thresholds; absent where it has none, and in reports of earlier versions. */
    trials: z.string().optional(),
  }),
  preset: z.string(),
  parameters: z.record(z.string(), z.unknown()),
  /** The command line that makes this report again. */
  command: z.string(),
  summary: z.string(),
  claims: z.array(claimSchema),
  figures: z.array(figureSchema),
  /** Names of the runs that it draws on. */
  runs: z.array(z.string()),
  /** ISO time. */
  created: z.string(),
  /** Version of headscope. */
  headscope: z.string(),
});
/** Everything that a report says. */
export type Report = z.output<typeof reportSchema>;
