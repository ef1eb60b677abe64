import { z } from "zod";
import { HEAD_ROLES, ROLE_MEASURES } from "../heads/roles.ts";
import { METRICS } from "../metrics.ts";
import { headModelSchema } from "./documents.ts";
import { type Bounds, type Data, type Input, modelRef } from "./fields.ts";
import { pairInput } from "./patching.ts";

const head = z.string().regex(/^\d{1,4}\.\d{1,4}$/, "must be LAYER.HEAD");

const evidence = z.object({
  measure: z.enum(ROLE_MEASURES),
  value: z.number().describe("mean over the pairs that the role applies to"),
  threshold: z.number().describe("least value of the role; where it is negative, the largest"),
});
/** A number that a role is suggested by. */
export type RoleEvidence = Data<typeof evidence>;

/** Schema of the roles that heads seem to have. */
export const headRolesResult = z.object({
  model: headModelSchema,
  metric: z.enum(METRICS),
  clean: z.number().describe("metric of the clean prompt, mean over the pairs"),
  corrupt: z.number(),
  pairs: z.int(),
  applies: z
    .record(z.enum(HEAD_ROLES), z.int())
    .describe("pairs that have the places of a role; 0 where none has, so that no head can have it"),
  heads: z
    .array(
      z.object({
        head,
        roles: z.array(z.object({ role: z.enum(HEAD_ROLES), evidence: z.array(evidence) })).min(1),
      }),
    )
    .describe("those with a role, in order of layer and head; of each head the roles that say most first"),
  notes: z.array(z.string()).optional(),
});
/** Roles that heads seem to have on some pairs, with the numbers behind them. */
export type HeadRolesResult = Data<typeof headRolesResult>;

/** Schema of a request for the roles of heads. */
export function headRolesRequest(bounds: Bounds) {
  return z.strictObject({
    model: modelRef,
    pairs: z.array(pairInput(bounds)).min(1).max(bounds.rows),
    bos: z.boolean().optional(),
    metric: z.enum(METRICS).optional().describe("of the effects; default logit-diff"),
    heads: z.array(head).min(1).max(bounds.entries).optional().describe("default all"),
  });
}
export type HeadRolesRequest = Input<typeof headRolesRequest>;

/** Schema of an answer with roles. */
export const headRolesAnswer = headRolesResult.extend({ ms: z.number() });
export type HeadRolesAnswer = Data<typeof headRolesAnswer>;
