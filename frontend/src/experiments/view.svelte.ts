import type { Report } from "../../../backend/common/figures/report.ts";
import { PRESETS } from "../../../backend/common/presets.ts";
import type { Definitions, ExperimentEntry, JobSummary, ReportComparison } from "../../../backend/server/api.ts";
import { get } from "../api/client.ts";
import { Latest } from "../api/latest.svelte.ts";
import { choice, json, text } from "../state/codecs.ts";
import { urlParam } from "../state/url.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";

export type ExperimentDefinition = Definitions["experiments"][number];

/** Name of the experiment that is looked at; "" for the first. */
export const chosenExperiment = urlParam("experiment", text());
/** Id of the report that is shown, or a preset for its newest; "" for the one made last. */
export const shownReport = urlParam("report", text());
/** Id of the report that is laid beside it; "" for none. */
export const comparedReport = urlParam("against", text());
/** What the next run is made with. */
export const runPreset = urlParam("preset", choice(PRESETS, "quick"));
export const runParams = urlParam("given", json<Readonly<Record<string, string>>>({}));

/** What the experiments page looks at. */
class ExperimentsView {
  /** Reports that there are, by experiment. */
  readonly entries = new Latest<ExperimentEntry[]>();
  readonly report = new Latest<Report>();
  /** The shown report beside the compared one. */
  readonly comparison = new Latest<ReportComparison>();

  readonly definition: ExperimentDefinition | undefined = $derived.by(() => {
    const all = workspace.definitions.value?.experiments ?? [];
    return all.find(({ name }) => name === chosenExperiment.value) ?? all[0];
  });

  /** Reports of the chosen experiment, newest first; undefined until they are known. */
  readonly reports = $derived(
    this.entries.value && (this.entries.value.find(({ name }) => name === this.definition?.name)?.reports ?? []),
  );

  /** The report that is shown. */
  readonly shown = $derived(
    this.reports?.find(({ id }) => id === shownReport.value) ??
      this.reports?.find(({ preset }) => preset === shownReport.value) ??
      this.reports?.[0],
  );

  /** The report that is laid beside it. */
  readonly compared = $derived(this.reports?.find(({ id }) => id === comparedReport.value && id !== this.shown?.id));

  /** The job that works on the chosen experiment, or the last one that did. */
  readonly job: JobSummary | undefined = $derived(jobOf(this.definition?.name));

  list(): void {
    void this.entries.ask((signal) => get<ExperimentEntry[]>("/api/experiments", signal));
  }

  /** Where the shown report is, as JSON or as a page. */
  reportPath(kind: "report" | "report.html"): string {
    return `/api/experiments/${this.definition?.name}/${kind}?id=${this.shown?.id}`;
  }

  read(): void {
    const path = this.reportPath("report");
    if (this.shown === undefined) this.report.clear();
    else void this.report.ask((signal) => get<Report>(path, signal));
  }

  compare(): void {
    const [first, second] = [this.shown?.id, this.compared?.id];
    const path = `/api/experiments/${this.definition?.name}/comparison?first=${first}&second=${second}`;
    if (first === undefined || second === undefined) this.comparison.clear();
    else void this.comparison.ask((signal) => get<ReportComparison>(path, signal));
  }
}

export const experimentsView = new ExperimentsView();

/** The newest job of an experiment. */
export function jobOf(name: string | undefined): JobSummary | undefined {
  const own = (workspace.jobs.value ?? []).filter(
    ({ kind, title }) => kind === "experiment" && name && titleNames(title, name),
  );
  return own.sort((a, b) => a.id - b.id).at(-1);
}

/** Jobs say "experiment NAME, PRESET". */
function titleNames(title: string, name: string): boolean {
  return title.split(/[\s,:]+/).includes(name);
}
