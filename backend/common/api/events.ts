import { z } from "zod";
import type { EventName } from "../words.ts";
import type { Data } from "./fields.ts";
import { startState } from "./health.ts";
import { jobSummarySchema } from "./jobs.ts";
import { runSummarySchema } from "./runs.ts";

/** Schemas of the data of every event of GET /api/events, by its name. */
export const eventSchemas = {
  /** A job began, moved on or ended. */
  job: jobSummarySchema,
  /** A run changed. */
  run: runSummarySchema,
  /** Measurements of a run. */
  metrics: z.object({
    run: z.string(),
    step: z.int(),
    values: z.record(z.string(), z.number().nullable()),
  }),
  /** A checkpoint of a run was written. */
  checkpoint: z.object({ run: z.string(), step: z.int() }),
  /** Scores or masks were written or removed. */
  library: z.object({ scores: z.string().optional(), mask: z.string().optional() }),
  /** The job of `npm start` moved on. */
  start: startState,
  /** Too many events were missed: read everything anew. */
  reset: z.strictObject({}),
} satisfies Record<EventName, z.ZodType>;

/** Data of every event, by its name. */
export type Events = { readonly [K in EventName]: Data<(typeof eventSchemas)[K]> };
