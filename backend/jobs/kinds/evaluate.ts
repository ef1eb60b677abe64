import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { contextTasks } from "../../../synthetic-tasks/contexts/index.ts";
import type { EvaluationSettings } from "../../common/api/evaluations.ts";
import { modelRef, parameters, seedSchema, shortName } from "../../common/api/fields.ts";
import { policyRequests } from "../../common/api/generation.ts";
import type { HeadModel } from "../../common/heads/model.ts";
import { CACHE_KINDS, EVALUATION_MODES } from "../../common/words.ts";
import { evaluate as evaluatePolicies } from "../../evaluation/evaluate.ts";
import { EVALUATIONS, evaluationId } from "../../evaluation/files/folders.ts";
import { checkPlan, type EvaluateOptions, planEvaluation } from "../../evaluation/plan.ts";
import { writablePath } from "../../files.ts";
import { interventionSchema } from "../../hooks/intervention-schema.ts";
import { describeModel, loadModel } from "../../models/load.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { dataDir } from "../../paths.ts";
import { progressTo } from "../../workers/handler.ts";
import { parametersWithFiles, policyFiles } from "../document-files.ts";
import { jobKind } from "../kind.ts";

/** Judges policies at budgets on tasks, beside full attention and random tokens; one that was stopped goes on. */
export const evaluate = jobKind({
  name: "evaluate",
  fields: ({ promptTokens, entries }) => ({
    model: modelRef,
    policies: z.array(policyRequests.min(1)).max(32).describe("each a list of policies that act together"),
    budgets: z
      .array(z.number().gt(0).max(promptTokens))
      .min(1)
      .max(8)
      .optional()
      .describe("shares below 1 that stay, or tokens of each KV head from 2 on; default 0.25 and 0.5"),
    tasks: z
      .array(z.strictObject({ name: shortName, params: parameters.optional() }))
      .min(1)
      .max(16),
    lengths: z.array(z.int().min(16).max(promptTokens)).min(1).max(8).describe("tokens of the prompts"),
    cases: z.int().min(1).max(200).optional().describe("of each task and length, default 10"),
    mode: z.enum(EVALUATION_MODES).optional().describe("default single"),
    seed: seedSchema.optional(),
    cache: z.enum(CACHE_KINDS).optional().describe("form of the cached keys and values, default f32"),
    interventions: z
      .array(interventionSchema)
      .max(entries)
      .optional()
      .describe("that every run is under, full attention's too: the changed model is the one that is judged"),
  }),
  result: z.object({ evaluation: z.string().describe("id of the evaluation") }),
  title: ({ policies, model }) =>
    `evaluation of ${policies.map((list) => list.map(({ name }) => name).join("+")).join(", ") || "full attention"} on ${model}`,

  async check(request, premises) {
    const policies = await Promise.all(request.policies.map((list) => policyFiles(list, premises)));
    const tasks = await Promise.all(
      request.tasks.map(async (task) => ({
        name: task.name,
        params: await parametersWithFiles(contextTasks, task, premises),
      })),
    );
    const checked = { ...request, policies: policies.map((list) => list!.map((each) => ({ ...each }))), tasks };
    await planEvaluation(optionsOf(checked));
    return { ...checked, model: await premises.models.allowed(request.model) };
  },

  async run(request, { emit, signal }) {
    const reference = parseReference(request.model, "absolute");
    const plan = await planEvaluation(optionsOf(request));
    const described = await describeModel(reference);
    checkPlan(plan, described);
    const id = evaluationId(described, plan.settings);
    const out = await writablePath(dataDir(), join(EVALUATIONS, id));
    const model = await loadModel(reference, { signal });
    try {
      await evaluatePolicies(model, { ...optionsOf(request), out, signal, progress: progressTo(emit) });
      return { evaluation: id };
    } finally {
      model.dispose();
    }
  },
});

/** Tells whether a job's work is what a model and settings name. @param spec of a job of this kind */
export async function evaluates(spec: unknown, model: HeadModel, settings: EvaluationSettings): Promise<boolean> {
  const request = spec as Parameters<typeof optionsOf>[0] & EvaluateOptions;
  const named = parseReference(request.model, "absolute").kind !== "path"; // that of a path may be read in another form
  if (named && request.model !== model.ref) return false;
  const plan = await planEvaluation(optionsOf(request));
  return isDeepStrictEqual(plan.settings, settings);
}

/** The part of a request that is the evaluation's. */
function optionsOf<R extends { kind: string; model: string }>({ kind: _, model: __, ...options }: R) {
  return options;
}
