import { z } from "zod";
import { CACHE_KINDS, EVALUATION_COSTS, EVALUATION_MODES, SCORINGS } from "../words.ts";
import { headModelSchema } from "./documents.ts";
import type { Data } from "./fields.ts";

/** Name of the format of evaluations of policies. */
export const POLICY_EVALUATION_FORMAT = "headscope.policy-evaluation/2";

const parameters = z.record(z.string(), z.unknown());

/** Schema of a definition by its name, and its parameters. */
const chosen = z.object({ name: z.string(), params: parameters });

/** Schema of a choice of what is evaluated, complete: with it and the model's digest the same cases come out again. */
export const evaluationSettings = z.object({
  policies: z
    .array(z.array(chosen))
    .describe("each a list of policies that act together, with the parameters given; full attention and random aside"),
  budgets: z.array(z.number()).describe("below 1 the share that stays, from 2 on tokens of each KV head"),
  tasks: z.array(chosen).describe("with all their parameters"),
  lengths: z.array(z.int()).describe("tokens of the prompts with their first question"),
  cases: z.int().describe("of each task and length, the same for all policies"),
  mode: z.enum(EVALUATION_MODES),
  seed: z.int(),
  cache: z.enum(CACHE_KINDS).describe("form of the cached keys and values"),
  interventions: z.array(parameters).describe("as data: every run of the model was under them, full attention's too"),
});
/** A choice of what is evaluated, complete. */
export type EvaluationSettings = Data<typeof evaluationSettings>;

const evaluatedQuestion = z.object({
  question: z.string(),
  expected: z.array(z.string()).describe("texts that a right answer holds; of a text that is scored the text"),
  text: z.string().describe("as the model wrote it; of a text that is scored its likeliest tokens"),
  score: z
    .number()
    .describe("0 to 1: the share of the expected texts, or of the text's tokens that were the likeliest"),
  chance: z.number().describe("expected score of a guess"),
  loss: z
    .number()
    .describe(
      "mean negative log-likelihood in nats: of the tokens of the text that is scored, or of the first expected text",
    ),
  needles: z
    .array(
      z.object({
        text: z.string().describe("as it stands in the context"),
        depth: z.number().describe("its place: 0 where it begins the context, 1 where it ends it"),
        kept: z.number().describe("share of its tokens that the cache holds, mean over layers and KV heads"),
      }),
    )
    .describe("parts of the context that hold the answers"),
});
/** A question as a model answered it under a policy. */
export type EvaluatedQuestion = Data<typeof evaluatedQuestion>;

/** Schema of a case under a policy. */
export const evaluatedCase = z.object({
  number: z.int().describe("from 0; the same number is the same text for all policies"),
  tokens: z.int().describe("of the prompt with the first question"),
  score: z.number().describe("mean over its questions"),
  bytes: z.number().describe("allocated for keys and values at the end"),
  bytesFull: z.number().describe("that full attention allocates for the same tokens"),
  read: z.number().optional().describe("mean share of the held keys that a new token reads, where a policy chooses"),
  prefillRead: z
    .number()
    .optional()
    .describe("share of the first prompt's attention that was computed, where a policy chooses"),
  prefillMs: z
    .number()
    .describe("of the first prompt: its own read or the shared one, and the policy's work at its end"),
  decodeMs: z.number().describe("of all steps together"),
  steps: z.int().describe("new tokens that were run through the model"),
  questions: z.array(evaluatedQuestion),
});
/** A case under a policy. */
export type EvaluatedCase = Data<typeof evaluatedCase>;

const interval = z.object({
  value: z.number().describe("mean over the cases"),
  low: z.number().nullable().describe("of its 95 % interval, null where one case can't tell"),
  high: z.number().nullable(),
});

const evaluatedPoint = z.object({
  label: z.string().describe('names of its policies with "+" between; "full" for full attention'),
  policies: z.array(chosen).describe("with the parameters used; none for full attention"),
  budget: z.number().nullable().describe("that the policies follow; null where they have none"),
  task: z.string(),
  length: z.int(),
  scoring: z.enum(SCORINGS),
  chance: z.number().describe("mean over the questions"),
  score: interval,
  byQuestion: z.array(z.number()).describe("mean score of each question, in the order in which they are asked"),
  loss: interval.describe("of the text that is scored, or of the first expected text, in nats a token"),
  kept: z.number().nullable().describe("mean share of the needles' tokens that is held; null without needles"),
  bytes: z.number().describe("mean over the cases, as all below"),
  bytesFull: z.number(),
  read: z.number().optional(),
  prefillRead: z.number().optional(),
  prefillMs: z.number().describe("median over the cases"),
  decodeMsPerToken: z.number().nullable().describe("the same; null where nothing was decoded"),
  sharedPrefill: z.boolean().describe("true where its prompts were read once together with those of other policies"),
  front: z
    .array(z.enum(EVALUATION_COSTS))
    .describe("costs by which no other point of the task and length is as good for less"),
  cases: z.array(evaluatedCase),
});
/** A policy at a budget on the cases of one task and length. */
export type EvaluatedPoint = Data<typeof evaluatedPoint>;

/** Schema of the file `headscope.policy-evaluation/2`: policies at budgets on tasks of several lengths. */
export const policyEvaluation = z.object({
  format: z.literal(POLICY_EVALUATION_FORMAT),
  model: headModelSchema,
  settings: evaluationSettings,
  environment: z.object({
    node: z.string(),
    platform: z.string(),
    kernels: z.string().describe("instructions of the kernels, or why there are none"),
    threads: z.int(),
  }),
  created: z.string().describe("ISO 8601 time"),
  headscope: z.string().describe("version of headscope that wrote it"),
  command: z.string().describe("the command line that makes it again"),
  points: z.array(evaluatedPoint).describe("by task, then length, then policy, then budget; full attention first"),
});
/** Policies at budgets on tasks of several lengths, judged against full attention. */
export type PolicyEvaluation = Data<typeof policyEvaluation>;

/** Schema of an evaluation as lists have it. */
export const evaluationEntry = z.object({
  id: z.string().describe("folder below evaluations/ of the data folder"),
  model: headModelSchema,
  settings: evaluationSettings,
  finished: z.boolean().describe("false where it was stopped, or is on its way: the same job goes on with it"),
  changed: z.string().describe("ISO 8601 time"),
});
/** An evaluation in a list. */
export type EvaluationEntry = Data<typeof evaluationEntry>;
