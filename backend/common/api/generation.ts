import { z } from "zod";
import { ACTIVATIONS, CACHE_KINDS, CHOOSES, PREFILLS } from "../words.ts";
import { headMaskSchema } from "./documents.ts";
import {
  type Bounds,
  type Data,
  headList,
  type Input,
  modelRef,
  parameters,
  promptFields,
  refuseEmpty,
  seedSchema,
  shortName,
} from "./fields.ts";
import type { interventionForm } from "./interventions.ts";

/** The fields of the choice of new tokens, and of their end. */
function choiceFields(bounds: Bounds) {
  const { newTokens } = bounds;
  const { text, tokens } = promptFields(bounds);
  return {
    maxTokens: z.int().min(1).max(newTokens).optional(),
    temperature: z.number().min(0).max(10).optional(),
    repetitionPenalty: z
      .number()
      .gt(0)
      .max(100)
      .optional()
      .describe("divides logits above 0 of tokens that have come already, and multiplies those below"),
    topK: z.int().min(1).optional().describe("samples among so many of the likeliest tokens"),
    topP: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe("samples among the fewest tokens that have this share of the probability together"),
    minP: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe("samples among tokens that have this share of the likeliest one's probability"),
    seed: seedSchema.optional(),
    contextAware: z
      .strictObject({ without: z.union([text.text, tokens.tokens]), alpha: z.number().min(0).max(100).optional() })
      .optional()
      .describe(
        "takes alpha (0.5) times the logits behind the prompt without its context from 1 + alpha times its own",
      ),
    stop: z
      .array(z.union([z.string().min(1).max(1000), z.int().min(0)]))
      .max(16)
      .optional()
      .describe("token ids and texts that end it, beside those that the model's own files name"),
  };
}

/** Schema of policies to run under, at most one for each thing that they choose. */
export const policyRequests = z
  .array(z.strictObject({ name: shortName, params: parameters.optional() }))
  .max(CHOOSES.length)
  .describe("ways to hold less; parameters that name files take ids of masks and scores");

/** The fields of the way of prompts through a model. */
function runFields<I extends z.ZodType>(bounds: Bounds, intervention: I) {
  return {
    model: modelRef,
    chat: z.boolean().optional().describe("puts the text into the model's chat template"),
    ...choiceFields(bounds),
    mask: headMaskSchema.optional(),
    prefill: z.enum(PREFILLS).optional(),
    policies: policyRequests.optional(),
    ablate: headList(bounds).optional().describe("query heads, zeroed at every position"),
    interventions: z
      .array(intervention)
      .max(bounds.entries)
      .optional()
      .describe("positions are those of the sequence: the prompt, then the new tokens"),
    speculative: z
      .strictObject({ mask: headMaskSchema, tokens: z.int().min(1).max(16).optional() })
      .optional()
      .describe("drafts so many tokens at a time (default 4) under a mask, and verifies them with all keys and values"),
    cache: z
      .enum(CACHE_KINDS)
      .optional()
      .describe("form of the cached keys and values; others than f32 need the kernels"),
    activations: z
      .enum(ACTIVATIONS)
      .optional()
      .describe("8bit rounds the vectors that packed weights are multiplied with, and needs the kernels"),
  };
}

/** A prompt's texts, and whether BOS comes before the first. */
interface PromptTexts {
  readonly text?: string;
  readonly bos?: boolean | undefined;
  readonly contextAware?: { readonly without: unknown } | undefined;
}

/** Refuses the empty texts of a prompt, where neither BOS by request nor a chat template gives them a token. */
function refuseEmptyTexts(
  { text, bos, contextAware }: PromptTexts,
  context: z.core.$RefinementCtx,
  { chat, path = [] }: { readonly chat?: boolean | undefined; readonly path?: (string | number)[] },
): void {
  if (chat) return;
  if (!bos) refuseEmpty(text, [...path, "text"], context);
  refuseEmpty(contextAware?.without, [...path, "contextAware", "without"], context);
}

/** Schema of a prompt to continue, also with a mask or without some heads. @param intervention the kinds that there are */
export function generateRequest<I extends z.ZodType>(bounds: Bounds, intervention: I) {
  const { text, tokens } = promptFields(bounds);
  const common = runFields(bounds, intervention);
  return z.union([
    z
      .strictObject({ ...common, ...text })
      .superRefine((request, context) => refuseEmptyTexts(request, context, request)),
    z
      .strictObject({ ...common, ...tokens })
      .superRefine((request, context) => refuseEmptyTexts(request, context, request)),
  ]);
}
export type GenerateRequest = Input<typeof generateRequest<typeof interventionForm>>;

/** Schema of prompts to continue together; what each says of the choice of its tokens goes before what is said for all. */
export function generateBatchRequest<I extends z.ZodType>(bounds: Bounds, intervention: I) {
  const { text, tokens } = promptFields(bounds);
  const own = choiceFields(bounds);
  const prompt = z.union([z.strictObject({ ...own, ...text }), z.strictObject({ ...own, ...tokens })]);
  return z
    .strictObject({ ...runFields(bounds, intervention), prompts: z.array(prompt).min(1).max(bounds.rows) })
    .refine(({ prompts, maxTokens }) => newTokens(prompts, maxTokens) <= bounds.newTokens, {
      error: `the prompts may have ${bounds.newTokens} new tokens together`,
      path: ["prompts"],
    })
    .superRefine(({ prompts, chat, contextAware }, context) => {
      refuseEmptyTexts({ contextAware }, context, { chat });
      prompts.forEach((prompt, i) => void refuseEmptyTexts(prompt, context, { chat, path: ["prompts", i] }));
    });
}
export type GenerateBatchRequest = Input<typeof generateBatchRequest<typeof interventionForm>>;

/** New tokens that a generation makes unless it is told how many. */
export const NEW_TOKENS = 32;

/** Most new tokens of several prompts together. */
export function newTokens(
  prompts: readonly { readonly maxTokens?: number | undefined }[],
  maxTokens = NEW_TOKENS,
): number {
  return prompts.reduce((sum, prompt) => sum + (prompt.maxTokens ?? maxTokens), 0);
}

/** Schema of why a continuation ended: at a token, at a text, or because it had as many tokens as were asked for. */
export const stopped = z.discriminatedUnion("by", [
  z.object({ by: z.literal("token"), id: z.int() }),
  z.object({ by: z.literal("text"), text: z.string() }),
  z.object({ by: z.literal("limit"), tokens: z.int() }),
]);
export type Stopped = Data<typeof stopped>;

/** Schema of a continuation, and what it took. */
export const generateResult = z.object({
  ids: z.array(z.int()),
  tokens: z.array(z.string()),
  text: z.string(),
  stopped: stopped.describe("why it ended; what it stopped at is not part of the result"),
  promptTokens: z.int(),
  promptTexts: z
    .array(z.string())
    .optional()
    .describe("each token of the prompt alone as text, where `cache.keptByPosition` is about them"),
  cache: z.object({
    bytes: z.number(),
    bytesFull: z.number(),
    kind: z.enum(CACHE_KINDS).optional().describe("absent for f32"),
    keptByPosition: z
      .array(z.number())
      .optional()
      .describe("where tokens went, by position of the prompt: the share of all KV heads that hold it at the end"),
  }),
  policies: z
    .array(z.object({ name: z.string(), params: z.record(z.string(), z.unknown()) }))
    .optional()
    .describe("those that it ran under, with the parameters used, files left out"),
  prefill: z
    .object({ read: z.number() })
    .optional()
    .describe("under a policy for blocks, the share of the prompt's causal attention that was read"),
  activations: z.enum(ACTIVATIONS).optional().describe("absent where they were exact"),
  speculative: z
    .object({ drafted: z.int(), accepted: z.int(), rate: z.number().optional(), bytes: z.number() })
    .optional()
    .describe("drafted tokens, those that were taken and their share, bytes of the draft's cache"),
  contextAware: z
    .object({ alpha: z.number(), promptTokens: z.int() })
    .optional()
    .describe("weight, and tokens of the prompt without its context"),
  prefillMs: z.number(),
  decodeMsPerToken: z.number(),
});
export type GenerateResult = Data<typeof generateResult>;

/** Schema of continuations of prompts together, in the order of the prompts. */
export const generateBatchResult = z.object({ rows: z.array(generateResult) });
export type GenerateBatchResult = Data<typeof generateBatchResult>;
