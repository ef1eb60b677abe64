import { z } from "zod";
import type { Data } from "./fields.ts";

/** Schema of every response with a status from 400 on (RFC 9457). */
export const problemSchema = z
  .object({
    type: z.string().describe('"about:blank" or "/problems/KIND"'),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe("what is wrong, in one line that names the thing"),
    remedy: z.string().optional().describe("what to do about it"),
    field: z
      .union([z.string(), z.array(z.string())])
      .optional()
      .describe("the parameter or field that cannot be as it is; several where they contradict each other"),
    kind: z.string().describe("of the error, or limit, forbidden, busy, long, defect"),
    estimate: z
      .object({ tokens: z.int(), seconds: z.number() })
      .optional()
      .describe("of kind long (428): what was asked with `Prefer: wait=SECONDS` is likely to take longer"),
  })
  .describe("RFC 9457: what every response with a status from 400 on holds.");
export type Problem = Data<typeof problemSchema>;
