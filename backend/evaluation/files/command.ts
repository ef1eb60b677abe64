import type { EvaluationSettings } from "../../common/api/evaluations.ts";
import { command, parameterPairs } from "../../common/command-line.ts";

/** The command line of an evaluation; its interventions stand in its settings, of which `interventions.json` is to have a copy. @param out folder of its results */
export function evaluateCommand(model: string, settings: EvaluationSettings, out = "evaluation"): string {
  const { policies, budgets, tasks, lengths, cases, mode, seed, cache, interventions } = settings;
  const owned = [...policies.flat(), ...tasks].flatMap(({ name, params }) =>
    parameterPairs(params).map((pair) => `${name}.${pair}`),
  );
  return command(["evaluate"], {
    model,
    policy: policies.map((list) => list.map(({ name }) => name).join("+")).join(",") || undefined,
    budget: budgets.join(","),
    tasks: tasks.map(({ name }) => name).join(","),
    lengths: lengths.join(","),
    cases,
    mode,
    seed,
    cache: cache === "f32" ? undefined : cache,
    interventions: interventions.length > 0 ? "interventions.json" : undefined,
    param: owned,
    out,
  });
}
