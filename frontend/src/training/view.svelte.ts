import type { JobSummary } from "../../../backend/common/api/jobs.ts";
import type { RunSummary } from "../../../backend/common/api/runs.ts";
import { isActive } from "../../../backend/common/words.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { bestOf, headTable } from "./checkpoint/heads.ts";
import { seriesOf } from "./comparison/compare.ts";
import { nearestStep } from "./curves/curves.ts";
import { metricsOf } from "./curves/metrics.ts";
import { curvesParam, focusParam, patternHead, runsParam, stepParam, together } from "./params.ts";
import { type RunData, runsData } from "./runs.svelte.ts";

/** The runs, metrics and checkpoint of the training page. */
class TrainingView {
  /** While the slider moves or plays; the URL has the step once it rests. */
  preview = $state<number>();

  readonly chosen: readonly RunSummary[] = $derived.by(() => {
    const all = workspace.runs.value ?? [];
    const found = runsParam.value.flatMap((id) => all.find((run) => run.id === id) ?? []);
    return found.length > 0 ? found : all.slice(-1);
  });

  readonly focus = $derived(this.chosen.find(({ id }) => id === focusParam.value) ?? this.chosen[0]);
  readonly series = $derived(seriesOf(this.chosen, together.value));
  readonly metrics = $derived(
    metricsOf(this.chosen.flatMap(({ id }) => [...(runsData.get(id)?.curves?.keys() ?? [])])),
  );
  /** The metrics that are drawn. */
  readonly drawn = $derived.by(() => {
    const wanted = this.metrics.filter(({ key }) => curvesParam.value.includes(key));
    return wanted.length > 0 ? wanted : this.metrics;
  });

  /** The last step that any of the chosen runs has reached, or will: the panels share their axis of steps. */
  readonly until = $derived(
    Math.max(0, ...this.chosen.map(({ status, step, steps }) => (isActive(status) ? steps : step))),
  );

  /** Of the run in focus. */
  get data(): RunData | undefined {
    return this.focus && runsData.get(this.focus.id);
  }

  /** Place of the present step among the checkpoints; -1 without any. */
  readonly at = $derived.by(() => {
    const steps = this.data?.checkpoints ?? [];
    const wanted = this.preview ?? stepParam.value;
    return wanted < 0 ? steps.length - 1 : (nearestStep(steps, wanted) ?? -1);
  });

  /** The checkpoint that is looked at; undefined while there is none. */
  readonly step = $derived(this.data?.checkpoints[this.at]);

  /** The checkpoint that is looked at as a model's reference. */
  get checkpoint(): string {
    return `run:${this.focus?.id}@${this.step}`;
  }

  /** Measurements of heads, one for each probe and metric, of the run in focus. */
  readonly headMetrics = $derived(metricsOf(this.data?.curves?.keys() ?? []).filter(({ kind }) => kind === "heads"));

  /** The head whose pattern is shown: the chosen one, else the one that scores best at the end. */
  readonly attended = $derived.by(() => {
    const [first] = this.headMetrics;
    const { curves } = this.data ?? {};
    if (patternHead.value !== "" || first === undefined || curves === undefined) return patternHead.value || "0.0";
    const table = headTable(curves, first, Infinity);
    return table === undefined ? "0.0" : bestOf(table);
  });

  /** Goes to the checkpoint that is nearest to a step. */
  goto(step: number): void {
    const steps = this.data?.checkpoints ?? [];
    const at = nearestStep(steps, step);
    this.preview = undefined;
    if (at !== undefined) stepParam.value = at === steps.length - 1 ? -1 : steps[at]!;
  }

  /** Looks at some runs, or at one more or one less. */
  choose(ids: readonly string[], add: boolean): void {
    const now = this.chosen.map(({ id }) => id);
    const inside = ids.every((id) => now.includes(id));
    const next = !add ? ids : inside ? now.filter((id) => !ids.includes(id)) : [...new Set([...now, ...ids])];
    if (next.length > 0) runsParam.value = next;
  }
}

export const training = new TrainingView();

/** The job that trains a run now, or will. */
export function trainingJob(run: RunSummary): JobSummary | undefined {
  const job = workspace.jobs.value?.find(({ id }) => id === run.job);
  return job !== undefined && isActive(job.status) ? job : undefined;
}
