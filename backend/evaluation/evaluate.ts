import packageJson from "../../package.json" with { type: "json" };
import {
  caseTokens,
  type DrawnCase,
  drawCase,
  type QuestionIds,
  type SplitPrompt,
  splitPrompt,
} from "../../synthetic-tasks/contexts/index.ts";
import { POLICY_EVALUATION_FORMAT, type PolicyEvaluation } from "../common/api/evaluations.ts";
import { HeadscopeError } from "../common/errors.ts";
import { headModel } from "../common/heads/model.ts";
import { counted } from "../common/text.ts";
import { intervenedModel } from "../hooks/intervened-model.ts";
import { parseInterventions } from "../hooks/intervention-schema.ts";
import { Forwards } from "../inference/forwards.ts";
import { loadKernels } from "../kernels/kernels.ts";
import type { Model } from "../models/model.ts";
import { requireTokenizer } from "../models/tokens.ts";
import { pointMeans, withFronts } from "./aggregate.ts";
import { askCase } from "./ask.ts";
import { type Beginning, beginAlone, beginShared, type FirstPrompt } from "./begin.ts";
import { evaluateCommand } from "./files/command.ts";
import { Journal } from "./files/journal.ts";
import { writeEvaluation } from "./files/write.ts";
import { placeNeedles } from "./needles.ts";
import {
  checkPlan,
  type EvaluateOptions,
  type EvaluationPlan,
  type PlannedPoint,
  type PlannedTask,
  planEvaluation,
} from "./plan.ts";
import { SharedRead, sharesRead } from "./shared-read.ts";

/** A case of a task and length, drawn for a model. */
interface PlannedCase {
  /** Number of the task in the plan. */
  readonly task: number;
  readonly planned: PlannedTask;
  readonly length: number;
  readonly number: number;
  readonly drawn: DrawnCase;
}

/**
 * Evaluates policies at budgets on tasks of several lengths, each beside full attention and random tokens on the same cases. Policies
 * that act at the end of a prompt share one read of it.
 * @throws HeadscopeError as `planEvaluation` and `checkPlan`; (usage) for lengths too short for a task, with the fewest tokens;
 *   (mismatch) where `out` holds an evaluation with other settings; what the signal is aborted with: what is done then stays in `out`
 */
export async function evaluate(base: Model, options: EvaluateOptions): Promise<PolicyEvaluation> {
  const plan = await planEvaluation(options);
  checkPlan(plan, base);
  const { interventions } = plan.settings;
  if (interventions.length === 0) return evaluatePlan(base, plan, options);
  const { model, dispose } = intervenedModel(base, parseInterventions([...interventions]));
  try {
    return await evaluatePlan(model, plan, options);
  } finally {
    dispose();
  }
}

async function evaluatePlan(model: Model, plan: EvaluationPlan, options: EvaluateOptions): Promise<PolicyEvaluation> {
  const cases = drawCases(model, plan);
  checkRuns(model, plan, cases);
  const journal = await Journal.open(options.out, headModel(model), plan.settings);
  const run = new Run(model, plan, journal, options);
  const total = cases.length * plan.points.length;
  let done = 0;
  for (const each of cases) {
    options.signal?.throwIfAborted();
    await run.evaluate(each, (label) => options.progress?.(done++, total, "evaluating", noteOf(each, label)));
    done = (cases.indexOf(each) + 1) * plan.points.length;
  }
  options.progress?.(total, total, "evaluating");
  const { ready: _, why, threads } = loadKernels();
  const evaluation: PolicyEvaluation = {
    format: POLICY_EVALUATION_FORMAT,
    model: headModel(model),
    settings: plan.settings,
    environment: { node: process.version, platform: `${process.platform} ${process.arch}`, kernels: why, threads },
    created: new Date().toISOString(),
    headscope: packageJson.version,
    command: evaluateCommand(model.ref, plan.settings, options.out),
    points: withFronts(cases.filter(({ number }) => number === 0).flatMap((first) => run.means(first))),
  };
  if (options.out !== undefined) await writeEvaluation(options.out, evaluation);
  return evaluation;
}

/** Draws all cases, by task, then length. @throws HeadscopeError (usage) for too small a room, (input) for questions that don't fit the context */
function drawCases(model: Model, { tasks, settings }: EvaluationPlan): PlannedCase[] {
  const tokenizer = requireTokenizer(model, { remedy: "evaluate a model with one" });
  const { n_ctx } = model.config;
  return tasks.flatMap((planned, task) =>
    settings.lengths.flatMap((length) =>
      Array.from({ length: settings.cases }, (_, number): PlannedCase => {
        const place = { tokens: length, number, seed: settings.seed };
        const drawn = drawCase(tokenizer, planned.task, planned.params, place);
        const needs = caseTokens(drawn.prompt, planned.task.answerTokens(planned.params));
        if (settings.mode === "turns" && needs > n_ctx)
          throw new HeadscopeError(
            "input",
            `${planned.task.name}: all turns behind ${counted(length, "token")} take up to ${needs}, and the context has ${n_ctx}`,
            { remedy: "give a smaller length or fewer questions", field: "lengths" },
          );
        return { task, planned, length, number, drawn };
      }),
    ),
  );
}

/**
 * Has every policy look at the model and at the shortest and longest first prompt of each task, before anything is run.
 * @throws HeadscopeError for masks and files of other models, and what else can't be run
 */
function checkRuns(model: Model, { points, tasks, settings }: EvaluationPlan, cases: readonly PlannedCase[]): void {
  for (const [number, { task, params }] of tasks.entries()) {
    const prompts = cases
      .filter((each) => each.task === number)
      .map(firstOf)
      .sort((a, b) => a.prompt.length - b.prompt.length);
    for (const { choice } of points)
      for (const { prompt, lead } of [prompts[0]!, prompts.at(-1)!]) {
        const maxTokens = lead.length + Math.max(1, task.answerTokens(params));
        const { mask, prefill } = choice.heads ?? {};
        const options = { mask, prefill, choice, cache: settings.cache };
        new Forwards(model, [{ number: 0, prompt, maxTokens, all: [] }], options).dispose();
      }
  }
}

/** An evaluation on its way. */
class Run {
  readonly #model: Model;
  readonly #plan: EvaluationPlan;
  readonly #journal: Journal;
  readonly #options: EvaluateOptions;

  constructor(model: Model, plan: EvaluationPlan, journal: Journal, options: EvaluateOptions) {
    this.#model = model;
    this.#plan = plan;
    this.#journal = journal;
    this.#options = options;
  }

  /** Evaluates what is not known yet of a case. @param tell called before each point */
  async evaluate(each: PlannedCase, tell: (label: string) => void): Promise<void> {
    const { task, length, number, planned, drawn } = each;
    const open = [...this.#plan.points.entries()].filter(
      ([point]) => !this.#journal.find({ point, task, length }, number),
    );
    if (open.length === 0) return;
    const prompt = this.#firstPrompt(each);
    const tokenizer = requireTokenizer(this.#model);
    const needles = drawn.questions.map((question) => placeNeedles(tokenizer, drawn.prompt.context, question.needles));
    const { signal } = this.#options;
    let shared: SharedRead | undefined;
    try {
      for (const [point, own] of open) {
        tell(own.label);
        if (sharesRead(this.#model, own.choice, length)) shared ??= await this.#read(each, prompt, open);
        const beginning = sharesRead(this.#model, own.choice, length)
          ? beginShared(shared!, own, prompt)
          : await beginAlone(this.#model, own, prompt);
        try {
          const result = await askCase(this.#model, beginning, { drawn, planned, needles, mode: prompt.mode, signal });
          await this.#journal.add({ point, task, length, case: { number, ...result } });
        } finally {
          dispose(beginning);
        }
        signal?.throwIfAborted();
      }
    } finally {
      shared?.dispose();
    }
  }

  /** The means of all points over the cases of a task and length. @param first of these cases */
  means({ task, length, planned }: PlannedCase) {
    const { points, settings } = this.#plan;
    return points.map((own, point) => {
      const numbers = Array.from({ length: settings.cases }, (_, number) => number);
      const cases = numbers.map((number) => this.#journal.find({ point, task, length }, number)!);
      return pointMeans(own, planned, { length, cases, sharedPrefill: sharesRead(this.#model, own.choice, length) });
    });
  }

  #firstPrompt(each: PlannedCase): FirstPrompt {
    const { mode, cache } = this.#plan.settings;
    const { context } = each.drawn.prompt;
    return { context, tokens: firstOf(each).prompt, mode, cache, signal: this.#options.signal };
  }

  /** Reads the first prompt for all that share it. */
  #read(
    each: PlannedCase,
    { tokens, cache, signal }: FirstPrompt,
    open: readonly (readonly [number, PlannedPoint])[],
  ): Promise<SharedRead> {
    const sharing = ({ choice }: PlannedPoint): boolean => sharesRead(this.#model, choice, each.length);
    const choices = (points: readonly PlannedPoint[]) => points.filter(sharing).map(({ choice }) => choice);
    const { task, params } = each.planned;
    const [{ scored }] = each.drawn.prompt.questions as [QuestionIds];
    return SharedRead.read(this.#model, {
      tokens,
      choices: choices(open.map(([, own]) => own)),
      all: choices(this.#plan.points),
      steps: firstOf(each).lead.length + Math.max(task.answerTokens(params), scored.length),
      ...{ cache, signal, turn: this.#options.turn },
    });
  }
}

/** A case's prompt with its first question, in the two parts in which it is read. */
function firstOf({ drawn: { prompt } }: PlannedCase): SplitPrompt {
  const [first] = prompt.questions as [QuestionIds];
  return splitPrompt([...prompt.context, ...first.request], first);
}

function noteOf({ planned, length, number }: PlannedCase, label: string): string {
  return `${planned.task.name}, ${counted(length, "token")}, case ${number + 1}: ${label}`;
}

function dispose({ prefix, context }: Beginning): void {
  prefix?.dispose();
  context?.dispose();
}
