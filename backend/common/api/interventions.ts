import { z } from "zod";
import { METRICS } from "../metrics.ts";
import { TEXT_PARTS } from "../texts/parts.ts";
import { ABLATION_METHODS } from "../words.ts";
import { type Bounds, type Data, headList, modelRef, seedSchema, shortName, tokenRows, topTokens } from "./fields.ts";
import { runLosses } from "./prompts.ts";

/** Most numbers of one list, positions or tokens of one row, and most rows of tokens: more than fit a model's context. */
const MOST_VALUES = 2 ** 20;
const MOST_ROWS = 4_096;

/** Numbers in nested arrays, or one number. */
export type Values = number | readonly Values[];
const valuesSchema: z.ZodType<Values> = z.lazy(() =>
  z.union([z.number(), z.array(valuesSchema).min(1).max(MOST_VALUES)]),
);
const some = z.union([z.literal("all"), z.array(z.int().min(0)).min(1).max(MOST_VALUES)]);

/** Schema of an intervention whose `do` is any word: which there are is said by the table of kinds, and so by the schema beside it. */
export const interventionForm = z.strictObject({
  at: z.string().max(200).describe("hook name, such as blocks.5.attn.hook_z; or attn.hook_z with `layer`"),
  layer: z.int().min(0).optional().describe("layer, for a hook name without one"),
  heads: some.default("all").describe('heads (of k and v: KV heads), or "all"; streams have none'),
  positions: some.default("all").describe('positions of the sequence (of patterns and scores: queries), or "all"'),
  keys: some.default("all").describe('of patterns and scores: positions of the keys, or "all"'),
  rows: some.default("all").describe('batch rows, or "all": one call can change something else in every row'),
  do: z.string().max(200).describe("what is done"),
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

/** Fields of an ablation beside its rows. */
function ablationFields(bounds: Bounds) {
  return {
    heads: headList(bounds).describe("query heads, LAYER.HEAD"),
    method: z.enum(ABLATION_METHODS).optional(),
    byPosition: z.boolean().optional().describe("mean: one for every position"),
    reference: tokenRows(bounds).optional().describe("token rows for mean and resample"),
    controls: z.int().min(0).max(32).optional().describe("draws of as many other heads of the same layers"),
    seed: seedSchema.optional(),
    topTokens,
    contrast: z
      .strictObject({
        position: z.int().min(1).describe("of the token; the number of tokens with `answer`: what comes next"),
        answer: z.int().min(0).optional().describe("default the token that stands there"),
        wrong: z.int().min(0),
      })
      .optional()
      .describe("a token of the single row against a wrong one: every metric in each run"),
    over: z
      .enum(TEXT_PARTS)
      .optional()
      .describe("the part that `part` of the answer is about; `answer` needs `contrast`"),
    position: z.int().min(1).optional().describe("of the held token, for over token, word and from"),
    metric: z.enum(METRICS).optional().describe("of over answer, default logit-diff"),
  };
}

/** Schema of an ablation on token rows: a set of heads, beside as many others of the same layers. */
export function rowsAblation(bounds: Bounds) {
  return z.strictObject({ model: modelRef, rows: tokenRows(bounds), ...ablationFields(bounds) });
}

/** Schema of an ablation on a prompt that was run, or on token rows. */
export function ablateRequest(bounds: Bounds) {
  return z.union([
    z.strictObject({ prompt: shortName.describe("a prompt's id"), ...ablationFields(bounds) }),
    rowsAblation(bounds),
  ]);
}

/** One quantity in every run. */
const runValues = z.object({ clean: z.number(), ablated: z.number(), draws: z.array(z.number()) });

const measured = z.object({ loss: z.number(), nll: z.array(z.array(z.number())).describe("by row") });

/** Schema of what an ablation comes to. */
export const ablateResult = z.object({
  model: z.object({ ref: z.string(), digest: z.string() }),
  heads: z.array(z.string()),
  method: z.string(),
  reference: z
    .literal("random")
    .optional()
    .describe("present where mean or resample drew from random tokens, since a single row was given and no reference"),
  clean: measured,
  ablated: measured,
  control: z
    .object({
      mean: z.number(),
      range: z.tuple([z.number(), z.number()]),
      ways: z
        .number()
        .optional()
        .describe("different sets that there are to draw, where these are fewer than the draws asked for"),
      draws: z.array(measured.extend({ heads: z.array(z.string()) })),
    })
    .optional(),
  noControl: z.string().optional().describe("why there is no control though it was asked for"),
  difference: runValues
    .optional()
    .describe("with a contrast: logit of its token less that of the wrong one, in each run"),
  metrics: z
    .record(z.enum(METRICS), runValues)
    .optional()
    .describe("with a contrast: every metric of its token against the wrong one, in each run"),
  part: z
    .object({
      over: z.enum(TEXT_PARTS),
      metric: z.enum(METRICS).optional().describe("of over answer: what is measured in place of the loss"),
      tokens: z.int().describe("tokens that it is a mean over"),
      clean: z.number(),
      ablated: z.number(),
      control: z
        .object({ draws: z.array(z.number()), mean: z.number(), range: z.tuple([z.number(), z.number()]) })
        .optional(),
    })
    .optional()
    .describe("with `over`: loss in nats a token over that part, or the metric"),
  nextToken: z
    .array(z.array(z.object({ id: z.int(), text: z.string().optional(), clean: z.number(), ablated: z.number() })))
    .describe("by row"),
  ms: z.number(),
});
export type AblateResult = Data<typeof ablateResult>;

/** Schema of any interventions on a prompt, as data. @param intervention the kinds that there are */
export function interveneRequest<I extends z.ZodType>({ entries }: Bounds, intervention: I) {
  return z.strictObject({
    prompt: shortName.describe("a prompt's id"),
    interventions: z.array(intervention).max(entries),
    topTokens,
  });
}

/** Schema of what interventions come to. */
export const interveneResult = z.object({ clean: z.object(runLosses), changed: z.object(runLosses), ms: z.number() });
export type InterveneResult = Data<typeof interveneResult>;
