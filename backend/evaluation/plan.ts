import { type ContextTask, contextTasks } from "../../synthetic-tasks/contexts/index.ts";
import type { EvaluationSettings } from "../common/api/evaluations.ts";
import { parseParameters } from "../common/definitions/parameters.ts";
import { HeadscopeError } from "../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, listOf, oneOf, type Rule, type Rules, whole } from "../common/options.ts";
import { counted } from "../common/text.ts";
import { CACHE_KINDS, type CacheKind, EVALUATION_MODES, type EvaluationMode } from "../common/words.ts";
import { type Intervention, parseInterventions } from "../hooks/intervention-schema.ts";
import { atBudget } from "../inference/policies/budget.ts";
import {
  checkPrompt,
  checkRequests,
  choosePolicies,
  type PolicyChoice,
  type PolicyRequest,
  pruningOf,
} from "../inference/policies/choice.ts";
import { policies as registered } from "../inference/policies/index.ts";
import type { Policy } from "../inference/policies/kinds/policy.ts";
import { checkSuits } from "../inference/policies/suits.ts";
import type { ModelDescription } from "../models/sources/source.ts";
import type { Turn } from "../runtime/turn.ts";

/** A task by its name, and its parameters. */
export interface TaskRequest {
  readonly name: string;
  readonly params?: Readonly<Record<string, unknown>> | undefined;
}

/** Options of `evaluate`. */
export interface EvaluateOptions {
  /** Policies, each with its parameters; a list of them acts together as one. Full attention and `random` are there anyway. */
  policies: readonly (PolicyRequest | readonly PolicyRequest[])[];
  /** Shares of a prompt that stay, below 1, or tokens of each KV head, from 2 on; default 0.25 and 0.5. */
  budgets?: readonly number[] | undefined;
  tasks: readonly TaskRequest[];
  /** Tokens of the prompts with their first question. */
  lengths: readonly number[];
  /** Cases of each task and length, default 10. */
  cases?: number | undefined;
  /** Default "single". */
  mode?: EvaluationMode | undefined;
  /** Of the cases, default 0. */
  seed?: number | undefined;
  /** Form of the cached keys and values, default f32. */
  cache?: CacheKind | undefined;
  /** Interventions as data that every run is under, full attention's too: the changed model is the one that is judged. */
  interventions?: readonly Intervention[] | undefined;
  /** Folder of the results: what an evaluation of the same settings has left there is not computed again. Default: none is written. */
  out?: string | undefined;
  progress?: ((done: number, total: number, label: string, note?: string) => void) | undefined;
  signal?: AbortSignal | undefined;
  turn?: Turn | undefined;
}

/** Name of full attention among the points. */
export const FULL = "full";
/** The policy that is always there to be better than. */
export const CONTROL = "random";
const BUDGETS = [0.25, 0.5];
const CASES = 10;

const isBudget = (budget: unknown): boolean =>
  typeof budget === "number" && ((budget > 0 && budget < 1) || (Number.isSafeInteger(budget) && budget >= 2));
const BUDGET: Rule = { wants: "a share between 0 and 1, or a whole number of tokens from 2", fits: isBudget };

const OPTIONS: Rules<EvaluateOptions> = {
  policies: { wants: "a list such as [{ name, params }]", fits: Array.isArray },
  budgets: listOf(BUDGET),
  tasks: listOf({ wants: "such as { name, params }", fits: (task) => typeof task === "object" && task !== null }),
  lengths: listOf(whole(1)),
  cases: whole(1),
  mode: oneOf(EVALUATION_MODES),
  seed: whole(0),
  cache: oneOf(CACHE_KINDS),
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  out: { wants: "a path", fits: (path) => typeof path === "string" && path !== "" },
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

const TASK: Rules<TaskRequest> = {
  name: { wants: "a task's name", fits: (name) => typeof name === "string" },
  params: { wants: "an object of its parameters", fits: (params) => typeof params === "object" && params !== null },
};

/** A policy, or some together, at a budget. */
export interface PlannedPoint {
  /** Names of its policies with "+" between; "full" for none. */
  readonly label: string;
  readonly budget: number | null;
  readonly requests: readonly PolicyRequest[];
  readonly choice: PolicyChoice;
}

/** A task and its parameters, complete. */
export interface PlannedTask {
  readonly task: ContextTask;
  readonly params: Record<string, unknown>;
}

/** Everything that an evaluation is to do. */
export interface EvaluationPlan {
  readonly settings: EvaluationSettings;
  readonly points: readonly PlannedPoint[];
  readonly tasks: readonly PlannedTask[];
}

/**
 * Checks what is to be evaluated, and reads the files that policies need; no model is needed.
 * @throws HeadscopeError (usage) for unknown policies, tasks and parameters, policies that can't go together and budgets that can't be,
 *   (input) for prompts too short for what a policy keeps anyway, (missing) for files
 */
export async function planEvaluation(options: EvaluateOptions): Promise<EvaluationPlan> {
  checkOptions("evaluate", options, OPTIONS, ["policies", "tasks", "lengths"]);
  const { policies, budgets = BUDGETS, lengths, cases = CASES, mode = "single", seed = 0, cache = "f32" } = options;
  const tasks = options.tasks.map((request, i) => {
    checkOptions(`task ${i} of evaluate`, request, TASK, ["name"]);
    const { name, params } = request;
    const task = contextTasks.get(name);
    const parsed = contextTasks.parse(name, params) as Record<string, unknown>;
    task.check?.(parsed);
    return { task, params: parsed };
  });
  refuseTwice("tasks", tasks.map(({ task }) => task.name)); // biome-ignore format: one call
  const asked = policies.map((each) => (Array.isArray(each) ? each : [each]) as readonly PolicyRequest[]);
  for (const requests of asked) checkRequests(requests);
  const points = await plannedPoints(asked, budgets);
  for (const { choice } of points) for (const length of lengths) if (choice.tokens) checkPrompt(choice.tokens, length);
  if (mode !== "single") for (const point of points) refuseGoingOn(point, mode);
  const interventions = parseInterventions([...(options.interventions ?? [])]).map((each) => ({ ...each }));
  return {
    settings: {
      policies: asked.map((list) => list.map(givenTo)),
      budgets: [...budgets],
      tasks: tasks.map(({ task, params }) => ({ name: task.name, params })),
      lengths: [...lengths],
      ...{ cases, mode, seed, cache, interventions },
    },
    points,
    tasks,
  };
}

/**
 * Insists that prompts, answers and the files of policies fit a model.
 * @throws HeadscopeError (input) with the numbers, (mismatch) for a file of another model
 */
export function checkPlan({ settings, tasks, points }: EvaluationPlan, model: ModelDescription): void {
  for (const { choice } of points) checkSuits(model, choice);
  const { n_ctx } = model.config;
  for (const { task, params } of tasks)
    for (const length of settings.lengths) {
      const answer = task.answerTokens(params);
      if (length + answer <= n_ctx) continue;
      const behind = answer > 0 ? ` and ${counted(answer, "token")} of an answer` : "";
      throw new HeadscopeError(
        "input",
        `${task.name}: prompts of ${counted(length, "token")}${behind} exceed the context of ${n_ctx}`,
        { remedy: `give lengths of at most ${n_ctx - answer}`, field: "lengths" },
      );
    }
}

/** Full attention, the policies at their budgets, and the control. */
async function plannedPoints(
  asked: readonly (readonly PolicyRequest[])[],
  budgets: readonly number[],
): Promise<PlannedPoint[]> {
  const control = asked.some((list) => list.length === 1 && nameOf(list[0]!.name) === CONTROL);
  const points: PlannedPoint[] = [{ label: FULL, budget: null, requests: [], choice: await choosePolicies([]) }];
  for (const list of control ? asked : [...asked, [{ name: CONTROL }]]) {
    if (list.length === 0)
      throw new HeadscopeError("usage", "an empty list of policies acts on nothing", {
        remedy: "leave it out: full attention is there anyway",
        field: "policies",
      });
    const label = list.map(({ name }) => nameOf(name)).join("+");
    for (const budget of budgets) {
      const own = list.map((request) => followed(request, budget));
      const follows = own.some(({ follows }) => follows);
      const requests = own.map(({ request }) => request);
      const choice = await choosePolicies(requests);
      if (!points.some((point) => point.label === label && sameUse(point.choice, choice)))
        points.push({ label, budget: follows ? budget : null, requests, choice });
    }
  }
  return points;
}

/** A policy under a budget, where it follows one. */
function followed(request: PolicyRequest, budget: number): { request: PolicyRequest; follows: boolean } {
  const { name, params = {} } = request;
  const own = atBudget(definitionOf(name), params, budget);
  return { request: own ? { name, params: { ...params, ...own } } : request, follows: own !== undefined };
}

/** A policy with the parameters that are given for it, as they are used. */
function givenTo({ name, params = {} }: PolicyRequest): { name: string; params: Record<string, unknown> } {
  const policy = definitionOf(name);
  const parsed = parseParameters(`policy ${policy.name}`, policy.parameters, params) as Record<string, unknown>;
  const given = Object.keys(params).filter((key) => params[key] !== undefined);
  return { name: policy.name, params: Object.fromEntries(given.map((key) => [key, parsed[key]])) };
}

function sameUse(a: PolicyChoice, b: PolicyChoice): boolean {
  return JSON.stringify(a.used) === JSON.stringify(b.used);
}

function definitionOf(name: PolicyRequest["name"]): Policy {
  return typeof name === "string" ? registered.get(name) : name;
}

function nameOf(name: string | Policy): string {
  return typeof name === "string" ? name : name.name;
}

/** @throws HeadscopeError (usage) */
function refuseTwice(field: string, names: readonly string[]): void {
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new HeadscopeError("usage", `${twice} stands twice among the ${field}`, { remedy: "give it once", field });
}

/** @throws HeadscopeError (usage) for a policy that can't go on behind an answer */
function refuseGoingOn({ label, choice }: PlannedPoint, mode: EvaluationMode): void {
  const { when, rerotate } = choice.tokens?.params ?? {};
  const refuse = (what: string, remedy: string) =>
    new HeadscopeError("usage", `${label} ${what}, and mode ${mode} goes on from a cut prompt`, {
      remedy: `${remedy}, or mode single`,
      field: ["policies", "mode"],
    });
  if (when === "decode") throw refuse("lets tokens go as it writes", "give when=prefill");
  if (pruningOf(choice)) throw refuse("lets tokens wait before layers, for this prompt alone", "leave it out");
  if (choice.form?.policy.channels) throw refuse("looks at the last queries of a whole prompt", "leave it out");
  if (rerotate && mode === "requests")
    throw refuse("numbers what stays anew, so that nothing leads back to the context", "give rerotate=false");
}
