import type { JobSummary } from "../../../backend/common/api/jobs.ts";
import type { RunSummary } from "../../../backend/common/api/runs.ts";
import { isActive } from "../../../backend/common/words.ts";
import { choice, flag, json, list, number, text } from "../state/codecs.ts";
import { urlParam } from "../state/url.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { seriesOf } from "./compare.ts";
import { nearest } from "./curves.ts";
import { bestOf, headTable } from "./heads.ts";
import { metricsOf } from "./metrics.ts";
import { type RunData, runsData } from "./runs.svelte.ts";

/** Runs that are looked at; none given means the newest. */
export const runsParam = urlParam("runs", list());
/** The run whose checkpoints are looked at; "" for the first of the chosen ones. */
export const focusParam = urlParam("run", text());
/** Step of the checkpoint that is looked at; -1 for the last one, also while it trains. */
export const stepParam = urlParam("step", number(-1, { least: -1, whole: true }));
/** Keys of the metrics that are drawn; none given means all. */
export const curvesParam = urlParam("curves", list());
export const stepsScale = urlParam("steps", choice(["log", "linear"], "log"));
export const lossScale = urlParam("losses", choice(["linear", "log"], "linear"));
/** Weight of the past in the smoothed curves; 0 smooths nothing. */
export const smoothing = urlParam("smooth", number(0, { least: 0, most: 0.99 }));
/** Whether the runs of a group are drawn as their mean and range. */
export const together = urlParam("together", flag());
/** Whether every head of a single run has its line, not only the best one. */
export const everyHead = urlParam("every", flag());
/** Head whose pattern is shown, LAYER.HEAD; "" for the best one. */
export const patternHead = urlParam("attend", text());
/** Token ids that the pattern is shown on; "" for an example. */
export const patternTokens = urlParam("tokens", text());

/** Whether the form of a new run is open, and what is set in it. */
export const drafting = urlParam("new", flag());
export const draftTask = urlParam("task", text("induction"));
export const draftParams = urlParam("set", json<Readonly<Record<string, string>>>({}));
export const draftSeeds = urlParam("seeds", text("0"));
/** Probes that are measured along; "" for those of the task's defaults, "none" for none. */
export const draftProbes = urlParam("measure", text());

/** What the training page looks at. */
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
    return wanted < 0 ? steps.length - 1 : (nearest(steps, wanted) ?? -1);
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
    const at = nearest(steps, step);
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
export function jobOf(run: RunSummary): JobSummary | undefined {
  const job = workspace.jobs.value?.find(({ id }) => id === run.job);
  return job !== undefined && isActive(job.status) ? job : undefined;
}
