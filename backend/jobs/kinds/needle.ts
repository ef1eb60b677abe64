import { z } from "zod";
import { needleTest } from "../../../probes/needle.ts";
import { headMaskSchema } from "../../common/api/documents.ts";
import { modelRef, seedSchema } from "../../common/api/fields.ts";
import { needleTrial } from "../../common/api/jobs.ts";
import { parseMask } from "../../common/heads/mask.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { CACHE_KINDS } from "../../common/words.ts";
import { loadModel } from "../../models/load.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { progressTo } from "../../workers/handler.ts";
import { jobKind } from "../kind.ts";

/** Asks needle questions at lengths and depths, with all heads full and with a mask. */
export const needle = jobKind({
  name: "needle",
  fields: ({ promptTokens, newTokens }) => ({
    model: modelRef,
    mask: headMaskSchema.optional(),
    lengths: z.array(z.int().min(16).max(promptTokens)).min(1).max(16).describe("tokens of the prompts"),
    depths: z.array(z.number().min(0).max(1)).min(1).max(16).describe("0 at the start, 1 at the end"),
    needles: z.int().min(1).max(16).optional().describe("questions of each length and depth"),
    maxTokens: z.int().min(1).max(newTokens).optional(),
    seed: seedSchema.optional(),
    cache: z.enum(CACHE_KINDS).optional().describe("form of the cached keys and values, default f32"),
  }),
  result: z.object({ model: z.string(), cache: z.enum(CACHE_KINDS).optional(), trials: z.array(needleTrial) }),
  title: ({ model }) => `needle questions to ${model}`,

  async check(request, { models }) {
    if (request.mask !== undefined) parseMask(request.mask, "the mask");
    return { ...request, model: await models.allowed(request.model) };
  },

  async run({ kind: _, model: ref, mask: document, ...questions }, { emit, signal }) {
    const mask = document === undefined ? undefined : parseMask(document, "the mask");
    const model = await loadModel(parseReference(ref, "absolute"), { signal });
    try {
      if (mask) checkModel(mask, headModel(model), "the mask");
      const trials = await needleTest(model, { ...questions, mask, progress: progressTo(emit), signal });
      const { cache } = questions;
      return { model: model.ref, ...(cache ? { cache } : {}), trials };
    } finally {
      model.dispose();
    }
  },
});
