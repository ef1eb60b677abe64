import { z } from "zod";
import { needleTest } from "../../../probes/needle.ts";
import { headMaskSchema } from "../../common/api/documents.ts";
import { modelRef, seedSchema } from "../../common/api/fields.ts";
import { policyRequests } from "../../common/api/generation.ts";
import { needleTrial } from "../../common/api/jobs.ts";
import { parseMask } from "../../common/heads/mask.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { CACHE_KINDS, PREFILLS } from "../../common/words.ts";
import { choosePolicies, refuseTwoMasks } from "../../inference/policies/choice.ts";
import { loadModel } from "../../models/load.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { progressTo } from "../../workers/handler.ts";
import { policyFiles } from "../document-files.ts";
import { jobKind } from "../kind.ts";

/** Asks needle questions at lengths and depths, with everything held and read, and with a mask and policies. */
export const needle = jobKind({
  name: "needle",
  fields: ({ promptTokens, newTokens }) => ({
    model: modelRef,
    mask: headMaskSchema.optional(),
    prefill: z.enum(PREFILLS).optional().describe("reach of the mask's windows"),
    policies: policyRequests.optional(),
    lengths: z.array(z.int().min(16).max(promptTokens)).min(1).max(16).describe("tokens of the prompts"),
    depths: z.array(z.number().min(0).max(1)).min(1).max(16).describe("0 at the start, 1 at the end"),
    needles: z.int().min(1).max(16).optional().describe("questions of each length and depth"),
    maxTokens: z.int().min(1).max(newTokens).optional(),
    seed: seedSchema.optional(),
    cache: z.enum(CACHE_KINDS).optional().describe("form of the cached keys and values, default f32"),
  }),
  result: z.object({ model: z.string(), cache: z.enum(CACHE_KINDS).optional(), trials: z.array(needleTrial) }),
  title: ({ model }) => `needle questions to ${model}`,

  async check(request, premises) {
    const mask = request.mask === undefined ? undefined : parseMask(request.mask, "the mask");
    const policies = await policyFiles(request.policies, premises);
    refuseTwoMasks(mask, await choosePolicies(policies ?? []));
    const checked = policies ? { policies: policies.map((each) => ({ ...each })) } : {};
    return { ...request, ...checked, model: await premises.models.allowed(request.model) };
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
