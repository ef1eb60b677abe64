import type { EvaluatedPoint, EvaluationEntry, PolicyEvaluation } from "../../../../backend/common/api/evaluations.ts";
import { EVALUATION_COSTS, EVALUATION_MEASURES, EVALUATION_MODES, isActive } from "../../../../backend/common/words.ts";
import type { JobRequest, JobResults } from "../../../../backend/jobs/kinds/index.ts";
import { get } from "../../api/client.ts";
import { JobAction } from "../../state/action.svelte.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { choice, list, number, text } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { readNumbers } from "../needle/needle.ts";
import { policyState } from "../policies/policies.svelte.ts";
import { budgetsProblem, pointKey, sizesProblem } from "./points.ts";

export const evaluationParams = {
  policies: urlParam("eval-policies", list(["streaming-llm", "snapkv", "quest"])),
  budgets: urlParam("eval-budgets", text("0.5, 0.25, 0.1")),
  tasks: urlParam("eval-tasks", list(["multi-key"])),
  lengths: urlParam("eval-lengths", text("512")),
  cases: urlParam("eval-cases", number(2, { least: 1, most: 50, whole: true })),
  mode: urlParam("eval-mode", choice(EVALUATION_MODES, "single")),
  seed: urlParam("eval-seed", number(0, { least: 0, whole: true })),
  /** The evaluation that is shown; "" for the newest of the model. */
  shown: urlParam("evaluation", text()),
  cost: urlParam("eval-cost", choice(EVALUATION_COSTS, "bytes")),
  measure: urlParam("eval-measure", choice(EVALUATION_MEASURES, "score")),
  /** NaN for the shortest. */
  length: urlParam("eval-length", number(Number.NaN, { least: 1, whole: true })),
  /** Key of the point whose answers are shown; "" for none. */
  point: urlParam("eval-point", text()),
};

/** Policies at budgets on tasks: the job that measures them, and what it has measured. */
class Evaluation {
  readonly action = new JobAction();
  readonly entries = new Answer<EvaluationEntry[]>();
  readonly result = new Answer<PolicyEvaluation>();

  readonly definitions = $derived(workspace.definitions.value?.policies ?? []);
  readonly tasks = $derived(workspace.definitions.value?.contextTasks ?? []);
  readonly budgets = $derived(readNumbers(evaluationParams.budgets.value));
  readonly lengths = $derived(readNumbers(evaluationParams.lengths.value));
  readonly budgetsProblem = $derived(budgetsProblem(this.budgets));
  readonly lengthsProblem = $derived(sizesProblem(this.lengths, workspace.info.value?.config.n_ctx ?? 0));

  /** The job that is at work, or the last one of this page. */
  readonly job = $derived(this.action.job ?? workspace.activeJob("evaluate"));
  readonly running = $derived(this.job !== undefined && isActive(this.job.status));

  /** Why nothing can be measured, and what to do. */
  readonly refused = $derived.by(() => {
    if (workspace.info.value?.tokenizer === undefined) return "The tasks are texts: choose a model with a tokenizer.";
    if (evaluationParams.policies.value.length === 0) return "Choose a policy.";
    if (evaluationParams.tasks.value.length === 0) return "Choose a task.";
    return this.budgetsProblem ?? this.lengthsProblem;
  });

  readonly request = $derived.by((): Extract<JobRequest, { kind: "evaluate" }> | undefined => {
    const { budgets, lengths } = this;
    if (this.refused !== undefined || budgets === undefined || lengths === undefined) return undefined;
    const { policies, tasks, cases, mode, seed } = evaluationParams;
    return {
      kind: "evaluate",
      model: workspace.model,
      policies: policies.value.map((name) => [{ name, params: this.#paramsOf(name) }]),
      tasks: tasks.value.map((name) => ({ name })),
      budgets,
      lengths,
      cases: cases.value,
      mode: mode.value,
      seed: seed.value,
    };
  });

  /** Evaluations of the present model, newest first. */
  readonly own = $derived(
    (this.entries.latest ?? [])
      .filter(({ model, finished }) => finished && model.digest === workspace.info.value?.digest)
      .toSorted((a, b) => b.changed.localeCompare(a.changed)),
  );
  readonly shown = $derived(this.own.find(({ id }) => id === evaluationParams.shown.value) ?? this.own[0]);

  /** Lengths of what is shown, and the one that is looked at. */
  readonly measuredLengths = $derived([...new Set(this.points.map(({ length }) => length))]);
  readonly length = $derived(
    this.measuredLengths.find((length) => length === evaluationParams.length.value) ?? this.measuredLengths[0],
  );

  /** Points of the length looked at, under the key that is chosen. */
  readonly chosen: readonly EvaluatedPoint[] = $derived(
    this.points.filter((point) => point.length === this.length && pointKey(point) === evaluationParams.point.value),
  );
  /** Full attention on the same cases. */
  readonly full: readonly EvaluatedPoint[] = $derived(
    this.points.filter(({ label, length }) => label === "full" && length === this.length),
  );

  get points(): readonly EvaluatedPoint[] {
    return this.result.latest?.points ?? [];
  }

  async start(): Promise<void> {
    if (this.request) await this.action.start(this.request);
  }

  /** Keeps to the evaluations, which a job that ends adds to, and to the one that is shown; run in an effect of the page. */
  follow(): void {
    const ended = (workspace.jobs.value ?? []).findLast(({ kind, status }) => kind === "evaluate" && status === "done");
    this.entries.follow([ended?.id], (call) => get<EvaluationEntry[]>("/api/evaluations", call));
    const id = this.shown?.id;
    this.result.follow(id && [id, this.shown?.changed], (call) =>
      get<PolicyEvaluation>(`/api/evaluations/${id}`, call),
    );
  }

  /** Shows what a job has measured, once it has ended; run in an effect of the page. */
  followJob(): void {
    const { job } = this.action;
    if (job?.status !== "done" || job.id === this.#told) return;
    this.#told = job.id;
    const { evaluation } = job.result as JobResults["evaluate"];
    evaluationParams.shown.value = evaluation;
  }
  #told = 0;

  /** Parameters of step 2, without how much is kept: that is what the budgets say. */
  #paramsOf(name: string): Record<string, string> {
    const { ratio: _, budget: __, ...rest } = policyState.values(name);
    return rest;
  }
}

export const evaluation = new Evaluation();
