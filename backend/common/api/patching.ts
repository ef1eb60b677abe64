import { z } from "zod";
import { METRICS } from "../metrics.ts";
import {
  PATCH_DIRECTIONS,
  PATCH_GROUPS,
  PATCH_METHODS,
  PATCH_NODES,
  PATCH_PLACES,
  PATH_ENDS,
  PATH_MLPS,
} from "../patching.ts";
import { ABLATED_PARTS, ABLATION_METHODS } from "../words.ts";
import { type Bounds, type Data, type Input, modelRef, tokenRows } from "./fields.ts";
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
    template: z.string().min(1).max(200).optional().describe("name of the wording that the pair was made by"),
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

/** Senders of paths: heads, MLPs, the embedding, and all of a kind. */
function senderList({ entries }: Bounds) {
  return z
    .array(
      z
        .string()
        .regex(/^(\d{1,4}\.\d{1,4}|m\d{1,4}|embed|heads|mlps)$/, "must be LAYER.HEAD, mLAYER, embed, heads or mlps"),
    )
    .min(1)
    .max(entries);
}

const metric = z.enum(METRICS).optional().describe("default logit-diff");
const direction = z
  .enum(PATCH_DIRECTIONS)
  .optional()
  .describe("denoise (default): clean activations in the corrupt run; noise: corrupt ones in the clean run");

/** Fields of a request about pairs. */
function pairFields(bounds: Bounds) {
  return { model: modelRef, pairs: z.array(pairInput(bounds)).min(1).max(bounds.rows), bos };
}

/** Schema of a patching; `into` makes it path patching, from every earlier head unless `from` says otherwise. */
export function patchRequest(bounds: Bounds) {
  return z.strictObject({
    ...pairFields(bounds),
    node: z.enum(PATCH_NODES).optional(),
    by: z
      .enum([...PATCH_PLACES, ...PATCH_GROUPS])
      .optional()
      .describe("default head; neurons of mlp_post alone"),
    group: z.int().min(1).optional().describe("by neurons: how many together; default a 32nd of an MLP's"),
    layers: z.array(z.int().min(0)).min(1).max(bounds.entries).optional(),
    metric,
    method: z.enum(PATCH_METHODS).optional().describe("default exact; not of path patching"),
    direction,
    into: receiverList(bounds).min(1).optional().describe("receivers of path patching"),
    through: z.enum(PATH_ENDS).optional().describe("the input of the receiving heads"),
    kvGroup: z.boolean().optional().describe("through k and v: all query heads that read a receiver's KV head receive"),
    mlps: z.enum(PATH_MLPS).optional().describe("of path patching; default frozen: the edge alone"),
    from: senderList(bounds).optional().describe("senders of path patching; default every head before a receiver"),
  });
}
export type PatchRequest = Input<typeof patchRequest>;

const interval = z.array(z.number()).length(2);
const cell = z.number().nullable();

/** Schema of what a patching comes to: metric values, means over the pairs. */
export const patchResponse = z.object({
  clean: z.number(),
  corrupt: z.number(),
  patched: z
    .array(z.array(cell))
    .describe(
      "[layers][heads, positions, groups of neurons, or 1]; of k and v the KV heads; null of senders that were not run",
    ),
  group: z.int().optional().describe("by neurons: how many were patched together"),
  patchedMlps: z.array(cell).optional().describe("MLPs as senders of paths, where asked for"),
  patchedEmbed: z.number().optional().describe("the embedding as a sender of paths, where asked for"),
  notes: z
    .array(z.string())
    .optional()
    .describe("what to bear in mind, such as a clean prompt that does not prefer its answer"),
  interval: z
    .object({
      clean: interval,
      corrupt: interval,
      patched: z.array(z.array(interval.nullable())),
      patchedMlps: z.array(interval.nullable()).optional(),
      patchedEmbed: interval.optional(),
    })
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

/** Schema of a patching of several places in one run. */
export function patchPlacesRequest(bounds: Bounds) {
  const place = z
    .string()
    .max(64)
    .regex(/^\s*(?:\w+:)?\d{1,4}(?:\.\d{1,4})?(?:@-?\d{1,7})?\s*$/, "must be such as z:5.1@-1 or mlp_out:7");
  return z.strictObject({
    ...pairFields(bounds),
    places: z.array(place).min(1).max(bounds.entries).describe("LAYER.HEAD or LAYER, @POSITION behind, NODE: in front"),
    node: z.enum(PATCH_NODES).optional().describe("of places that name none; default z"),
    metric,
    direction,
  });
}
export type PatchPlacesRequest = Input<typeof patchPlacesRequest>;

/** Schema of what several places come to together: metric values, means over the pairs. */
export const patchPlacesResponse = patchResponse.pick({ clean: true, corrupt: true, notes: true, ms: true }).extend({
  patched: z.number(),
  interval: z.object({ clean: interval, corrupt: interval, patched: interval }).optional(),
  places: z.array(z.string()),
  metric: z.enum(METRICS),
  direction: z.enum(PATCH_DIRECTIONS),
});
export type PatchPlacesResponse = Data<typeof patchPlacesResponse>;

/** Schema of an ablation of each head, MLP, layer or source token in turn, on the clean prompts of pairs. */
export function ablateEachRequest(bounds: Bounds) {
  return z.strictObject({
    ...pairFields(bounds),
    each: z.enum(ABLATED_PARTS),
    method: z.enum(ABLATION_METHODS).optional().describe("default zero; source tokens are knocked out"),
    metric,
    window: z
      .int()
      .min(1)
      .max(bounds.entries)
      .optional()
      .describe("source: layers in which a token is hidden together, odd; default 1"),
    reference: tokenRows(bounds).optional().describe("mean: rows that it is drawn from; default the pairs' prompts"),
  });
}
export type AblateEachRequest = Input<typeof ablateEachRequest>;

/** Schema of the metric without each part: means over the pairs. */
export const ablateEachResponse = z.object({
  clean: z.number(),
  ablated: z
    .array(z.array(z.number()))
    .describe("[layers][heads], [layers][1] of MLPs and layers, [layers][positions] of source tokens"),
  control: z
    .array(z.array(cell))
    .describe("at each place the mean of its likes: other heads of the layer, else other layers"),
  interval: z
    .object({ clean: interval, ablated: z.array(z.array(interval)), control: z.array(z.array(interval.nullable())) })
    .optional()
    .describe("of several pairs: 95 % interval of every mean"),
  each: z.enum(ABLATED_PARTS),
  method: z.enum([...ABLATION_METHODS, "knock-out"]),
  metric: z.enum(METRICS),
  notes: z.array(z.string()).optional(),
  ms: z.number(),
});
export type AblateEachResponse = Data<typeof ablateEachResponse>;
