import type { CacheKind, EvaluationMode } from "../../common/words.ts";
import { evaluate } from "../../evaluation/evaluate.ts";
import { checkPlan, type EvaluateOptions, planEvaluation } from "../../evaluation/plan.ts";
import type { Context } from "../context.ts";
import { readOptionalInterventions } from "../inputs/case-files.ts";
import { ownedParameters } from "../inputs/owned-parameters.ts";
import { descriptionOf, withModel } from "../model.ts";
import type { StudiedModelOptions } from "../options.ts";
import { evaluationText } from "../text/evaluation.ts";

interface EvaluateCommandOptions extends StudiedModelOptions {
  policy: string[];
  budget: number[];
  tasks: string[];
  lengths: number[];
  cases: number;
  mode: EvaluationMode;
  seed: number;
  cache?: CacheKind;
  param?: string[];
  out: string;
}

/** Evaluates policies at budgets on tasks, and writes results.json, results.csv and report.html. */
export async function evaluatePolicies(context: Context, options: EvaluateCommandOptions): Promise<void> {
  const interventions = await readOptionalInterventions(options.interventions);
  const asked = { ...optionsOf(options), interventions };
  const plan = await planEvaluation(asked);
  checkPlan(plan, await descriptionOf(options));
  const { signal, progress } = context;
  try {
    await withModel(context, options, async (model) => {
      const evaluation = await evaluate(model, { ...asked, signal, progress });
      await context.print(evaluation, () => evaluationText(evaluation, options.out));
    });
  } finally {
    if (signal.aborted) context.note(`  what is done stays in ${options.out}: run the same again, and it goes on`);
  }
}

function optionsOf({ policy, budget, tasks, param = [], ...others }: EvaluateCommandOptions): EvaluateOptions {
  const lists = policy.map((names) => names.split("+").map((name) => name.trim()));
  const own = [...new Set(lists.flat())];
  const params = ownedParameters(param, [...own, ...tasks], own.length === 1 ? own[0] : undefined);
  const { lengths, cases, mode, seed, cache, out } = others;
  return {
    policies: lists.map((names) => names.map((name) => ({ name, params: params.get(name) }))),
    budgets: budget,
    tasks: tasks.map((name) => ({ name, params: params.get(name) })),
    ...{ lengths, cases, mode, seed, cache, out },
  };
}
