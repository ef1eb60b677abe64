import type { Definitions } from "../../../backend/common/api/definitions.ts";
import type { ExperimentEntry, ReportComparison } from "../../../backend/common/api/experiments.ts";
import type { JobSummary } from "../../../backend/common/api/jobs.ts";
import type { Report } from "../../../backend/common/figures/report.ts";
import { get } from "../api/client.ts";
import { Answer } from "../state/answer.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { chosenExperiment, comparedReport, shownReport } from "./params.ts";

export type ExperimentDefinition = Definitions["experiments"][number];

/** The experiment, report and comparison of the experiments page. */
class ExperimentsView {
  /** Reports that there are, by experiment. */
  readonly entries = new Answer<ExperimentEntry[]>();
  readonly report = new Answer<Report>();
  /** The shown report beside the compared one. */
  readonly comparison = new Answer<ReportComparison>();

  /** The chosen experiment; undefined where all are shown. */
  readonly definition: ExperimentDefinition | undefined = $derived(
    workspace.definitions.value?.experiments.find(({ name }) => name === chosenExperiment.value),
  );

  /** Reports of the chosen experiment, newest first, also while the list is read anew; undefined until it is here. */
  readonly reports = $derived.by(() => {
    const entries = this.entries.latest;
    return entries && (entries.find(({ name }) => name === this.definition?.name)?.reports ?? []);
  });

  /** The report that is shown. */
  readonly shown = $derived(
    this.reports?.find(({ id }) => id === shownReport.value) ??
      this.reports?.find(({ preset }) => preset === shownReport.value) ??
      this.reports?.[0],
  );

  /** The report that is laid beside it. */
  readonly compared = $derived(this.reports?.find(({ id }) => id === comparedReport.value && id !== this.shown?.id));

  /** The job that works on the chosen experiment, or the last one that did. */
  readonly job: JobSummary | undefined = $derived(experimentJob(this.definition?.name));

  /** Address of the shown report, as JSON or as a page. */
  reportPath(kind: "report" | "report.html"): string {
    return `/api/experiments/${this.definition?.name}/${kind}?id=${this.shown?.id}`;
  }

  /** Keeps to the reports, which a job that ends adds to, to the one that is shown and to its comparison; run in an effect. */
  follow(): void {
    const { shown, compared, definition } = this;
    const path = this.reportPath("report");
    this.entries.follow([this.job?.ended], (call) => get<ExperimentEntry[]>("/api/experiments", call));
    this.report.follow(shown && [path, shown.created], (call) => get<Report>(path, call));
    const pair = shown && compared && [definition?.name, shown.id, shown.created, compared.id];
    const query = `first=${shown?.id}&second=${compared?.id}`;
    this.comparison.follow(pair, (call) =>
      get<ReportComparison>(`/api/experiments/${definition?.name}/comparison?${query}`, call),
    );
  }
}

export const experimentsView = new ExperimentsView();

/** The newest job of an experiment. */
export function experimentJob(name: string | undefined): JobSummary | undefined {
  const own = (workspace.jobs.value ?? []).filter(
    ({ kind, title }) => kind === "experiment" && name && titleNames(title, name),
  );
  return own.sort((a, b) => a.id - b.id).at(-1);
}

/** Jobs say "experiment NAME, PRESET". */
function titleNames(title: string, name: string): boolean {
  return title.split(/[\s,:]+/).includes(name);
}
