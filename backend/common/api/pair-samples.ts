import { z } from "zod";
import { atMostKeys } from "../definitions/bounded.ts";
import { type Data, modelRef } from "./fields.ts";

/** Parameters that a request can give a task. */
const MOST_PARAMS = 32;
/** Pairs that a page can ask for at once. */
const MOST_PAIRS = 64;

/** Schema of a request that draws minimal pairs of a task. */
export const pairSampleRequest = z.strictObject({
  model: modelRef,
  task: z.string().min(1).max(64).describe("one of the definitions' pairTasks"),
  params: atMostKeys(z.record(z.string().max(64), z.union([z.string().max(256), z.number(), z.boolean()])), MOST_PARAMS)
    .default({})
    .describe("the task's parameters, as the command line or JSON has them"),
  count: z.int().min(1).max(MOST_PAIRS).default(4),
  seed: z.int().min(0).default(0),
  bos: z.boolean().optional(),
});
export type PairSampleRequest = z.input<typeof pairSampleRequest>;

const share = z.number().min(0).max(1);
const side = z.union([z.string(), z.array(z.int())]);
const token = z.union([z.string(), z.int()]);
const answer = z.union([token, z.array(token)]);

/** Schema of the pairs, and of how the model answers them. */
export const pairSampleAnswer = z.object({
  task: z.string(),
  params: z.record(z.string(), z.unknown()),
  seed: z.int(),
  model: z.string(),
  clean: z.number().describe("logit(answer) - logit(wrong) after the clean prompt, mean over the pairs"),
  corrupt: z.number(),
  right: share.describe("of pairs whose clean prompt prefers the answer"),
  turned: share.describe("of pairs whose corrupt prompt prefers the wrong one"),
  first: share.describe("of pairs whose answer is the likeliest token of all"),
  unaligned: z.int().describe("draws that were left out because the tokenizer cuts the two sides differently"),
  pairs: z.array(z.object({ clean: side, corrupt: side, answer, wrong: answer, template: z.string().optional() })),
  perPair: z.array(z.object({ kind: z.string(), clean: z.number(), corrupt: z.number(), first: z.boolean() })),
});
export type PairSampleAnswer = Data<typeof pairSampleAnswer>;
