import { z } from "zod";
import { HeadscopeError, unknownName } from "../common/errors.ts";
import { INTERVENTION_KINDS, type InterventionName } from "./intervention-kinds.ts";

/** Most numbers of one list, positions or tokens of one row, and most rows of tokens: more than fit a model's context. */
const MOST_VALUES = 2 ** 20;
const MOST_ROWS = 4_096;

/** Numbers in nested arrays, or one number. */
export type Values = number | readonly Values[];
const valuesSchema: z.ZodType<Values> = z.lazy(() =>
  z.union([z.number(), z.array(valuesSchema).min(1).max(MOST_VALUES)]),
);
const some = z.union([z.literal("all"), z.array(z.int().min(0)).min(1).max(MOST_VALUES)]);

/** An intervention as data: the same words in a script, in a file for --interventions and in a request. */
export const interventionSchema = z.strictObject({
  at: z.string().max(200).describe("hook name, such as blocks.5.attn.hook_z; or attn.hook_z with `layer`"),
  layer: z.int().min(0).optional().describe("layer, for a hook name without one"),
  heads: some.default("all").describe('heads (of k and v: KV heads), or "all"; streams have none'),
  positions: some.default("all").describe('positions of the sequence (of patterns and scores: queries), or "all"'),
  keys: some.default("all").describe('of patterns and scores: positions of the keys, or "all"'),
  rows: some.default("all").describe('batch rows, or "all": one call can change something else in every row'),
  do: z.enum(Object.keys(INTERVENTION_KINDS) as [InterventionName, ...InterventionName[]]).describe("what is done"),
  with: z
    .union([
      valuesSchema,
      z.strictObject({
        tokens: z
          .array(z.array(z.int().min(0)).min(1).max(MOST_VALUES))
          .min(1)
          .max(MOST_ROWS),
      }),
      z.strictObject({
        cache: z.string().max(200),
        name: z.string().max(200).optional(),
        row: z.int().min(0).optional(),
      }),
    ])
    .optional()
    .describe(
      "numbers that broadcast to the activation, {tokens: reference rows}, or {cache, name, row} of a kept activation",
    ),
  byPosition: z.boolean().default(false).describe("mean: one for every position"),
  seed: z.int().min(0).default(0).describe("of resample's pairing"),
});

/** An intervention before its defaults are filled in. */
export type Intervention = z.input<typeof interventionSchema>;
/** An intervention with its defaults filled in. */
export type ParsedIntervention = z.output<typeof interventionSchema>;

/**
 * Checks interventions from a file or a request.
 * @throws HeadscopeError (usage) naming the entry and the field
 */
export function parseInterventions(value: unknown): Intervention[] {
  const result = z.array(interventionSchema).safeParse(Array.isArray(value) ? value : [value]);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const [entry, ...field] = issue.path;
  const refused = (Array.isArray(value) ? value : [value])[Number(entry)] as { do?: unknown } | undefined;
  if (field[0] === "do" && typeof refused?.do === "string")
    throw unknownName("intervention", refused.do, Object.keys(INTERVENTION_KINDS));
  throw new HeadscopeError(
    "usage",
    `intervention ${String(entry ?? 0)}${field.length ? `, ${field.join(".")}` : ""}: ${issue.message}`,
    {
      remedy: 'write it as {"at": "blocks.5.attn.hook_z", "heads": [1, 4], "do": "zero"}',
    },
  );
}
