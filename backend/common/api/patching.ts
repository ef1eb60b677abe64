import { z } from "zod";
import { METRICS } from "../metrics.ts";
import { PATCH_DIRECTIONS, PATCH_METHODS, PATCH_NODES, PATCH_PLACES, PATH_ENDS, PATH_MLPS } from "../patching.ts";
import { type Bounds, type Data, type Input, modelRef } from "./fields.ts";
import { candidateSchema } from "./prompts.ts";

/** Schema of two prompts of one length, as texts or ids, that differ in what decides between two answers. */
export function pairInput({ textCharacters, promptTokens, entries }: Bounds) {
  const side = z.union([z.string().min(1).max(textCharacters), z.array(z.int().min(0)).min(1).max(promptTokens)]);
  const token = z.union([z.string().min(1).max(256), z.int().min(0)]);
  const answer = z.union([token, z.array(token).min(1).max(entries)]);
  return z.strictObject({
    clean: side.describe("prompt as token ids or text"),
    corrupt: side.describe("the other prompt, of as many tokens"),
    answer: answer.describe("token that the clean prompt calls for: id, or text of one token; or a list of such"),
    wrong: answer.describe("token that the corrupt prompt calls for, or a list"),
  });
}
export type PairInput = Input<typeof pairInput>;

const bos = z.boolean().optional();

/** Schema of a request that checks a pair and aligns its tokens, without patching. Lengths may differ here. */
export function pairRequest(bounds: Bounds) {
  return z.strictObject({ model: modelRef, pair: pairInput(bounds), bos });
}

const aligned = z.object({ ids: z.array(z.int()), tokens: z.array(z.string()) });

/** Schema of a pair with its tokens beside each other. */
export const pairAlignment = z.object({
  clean: aligned,
  corrupt: aligned,
  differ: z.array(z.int()).describe("positions where both have a token and the ids differ"),
  answer: candidateSchema.describe(
    "with its probability after the clean prompt; of a text of several tokens the first, of a list its likeliest",
  ),
  wrong: candidateSchema.describe("alike, after the corrupt prompt"),
  problem: z.string().optional().describe("why it cannot be patched, such as lengths that differ; absent when it can"),
});
export type PairAlignment = Data<typeof pairAlignment>;

/** Receivers of paths: heads, MLPs, and the logits. */
function receiverList({ entries }: Bounds) {
  return z
    .array(z.string().regex(/^(\d{1,4}\.\d{1,4}|m\d{1,4}|logits)$/, "must be LAYER.HEAD, mLAYER or logits"))
    .max(entries);
}

/** Schema of a patching; `into` makes it path patching, from every earlier head. */
export function patchRequest(bounds: Bounds) {
  return z.strictObject({
    model: modelRef,
    pairs: z.array(pairInput(bounds)).min(1).max(bounds.rows),
    bos,
    node: z.enum(PATCH_NODES).optional(),
    by: z.enum(PATCH_PLACES).optional(),
    layers: z.array(z.int().min(0)).min(1).max(bounds.entries).optional(),
    metric: z.enum(METRICS).optional().describe("default logit-diff"),
    method: z.enum(PATCH_METHODS).optional().describe("default exact; not of path patching"),
    direction: z
      .enum(PATCH_DIRECTIONS)
      .optional()
      .describe("denoise (default): clean activations in the corrupt run; noise: corrupt ones in the clean run"),
    into: receiverList(bounds).min(1).optional().describe("receivers of path patching"),
    through: z.enum(PATH_ENDS).optional().describe("the input of the receiving heads"),
    kvGroup: z.boolean().optional().describe("through k and v: all query heads that read a receiver's KV head receive"),
    mlps: z.enum(PATH_MLPS).optional().describe("of path patching; default frozen: the edge alone"),
  });
}
export type PatchRequest = Input<typeof patchRequest>;

const interval = z.array(z.number()).length(2);

/** Schema of what a patching comes to: metric values, means over the pairs. */
export const patchResponse = z.object({
  clean: z.number(),
  corrupt: z.number(),
  patched: z.array(z.array(z.number())).describe("[layers][heads, positions, or 1]; of k and v the KV heads"),
  notes: z
    .array(z.string())
    .optional()
    .describe("what to bear in mind, such as a clean prompt that does not prefer its answer"),
  interval: z
    .object({ clean: interval, corrupt: interval, patched: z.array(z.array(interval)) })
    .optional()
    .describe("of several pairs: 95 % interval of every mean"),
  metric: z.enum(METRICS).optional(),
  method: z.enum(PATCH_METHODS).optional(),
  direction: z.enum(PATCH_DIRECTIONS).optional(),
  mlps: z.enum(PATH_MLPS).optional().describe("of path patching"),
  through: z.enum(PATH_ENDS).optional().describe("of path patching"),
  receivers: z
    .array(z.string())
    .optional()
    .describe(
      'of path patching: whose inputs were changed, heads as "1.2", whole KV heads as "KV 1.1", "m1", "logits"',
    ),
  ms: z.number(),
});
export type PatchResponse = Data<typeof patchResponse>;
