import type { Report } from "../../../backend/reports/report.ts";
import type { Definitions, ExperimentEntry, JobSummary } from "../../../backend/server/api.ts";
import { get } from "../api/client.ts";
import { Latest } from "../api/latest.svelte.ts";
import { choice, json, text } from "../state/codecs.ts";
import { urlParam } from "../state/url.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";

export type ExperimentDefinition = Definitions["experiments"][number];

/** Name of the experiment that is looked at; "" for the first. */
export const chosenExperiment = urlParam("experiment", text());
/** Which report is shown; "newest" for the one made last. */
export const shownPreset = urlParam("report", choice(["newest", "quick", "full"], "newest"));
/** What the next run is made with. */
export const runPreset = urlParam("preset", choice(["quick", "full"], "quick"));
export const runParams = urlParam("given", json<Readonly<Record<string, string>>>({}));

/** What the experiments page looks at. */
class ExperimentsView {
  /** Reports that there are, by experiment. */
  readonly entries = new Latest<ExperimentEntry[]>();
  readonly report = new Latest<Report>();

  readonly definition: ExperimentDefinition | undefined = $derived.by(() => {
    const all = workspace.definitions.value?.experiments ?? [];
    return all.find(({ name }) => name === chosenExperiment.value) ?? all[0];
  });

  /** Reports of the chosen experiment, newest first; undefined until they are known. */
  readonly reports = $derived(
    this.entries.value && (this.entries.value.find(({ name }) => name === this.definition?.name)?.reports ?? []),
  );

  /** The report that is shown. */
  readonly shown = $derived(this.reports?.find(({ preset }) => preset === shownPreset.value) ?? this.reports?.[0]);

  /** The job that works on the chosen experiment, or the last one that did. */
  readonly job: JobSummary | undefined = $derived(jobOf(this.definition?.name));

  list(): void {
    void this.entries.ask((signal) => get<ExperimentEntry[]>("/api/experiments", signal));
  }

  /** Where the shown report is, as JSON or as a page. */
  reportPath(kind: "report" | "report.html"): string {
    return `/api/experiments/${this.definition?.name}/${kind}?preset=${this.shown?.preset}`;
  }

  read(): void {
    const path = this.reportPath("report");
    if (this.shown === undefined) this.report.clear();
    else void this.report.ask((signal) => get<Report>(path, signal));
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
