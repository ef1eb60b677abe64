import type { JobSummary } from "../../../../backend/common/api/jobs.ts";
import type { JobResults } from "../../../../backend/jobs/kinds/index.ts";
import { chosenExperiment, shownReport } from "../../experiments/params.ts";
import type { PageName } from "../../state/pages.ts";
import { runsParam } from "../../training/params.ts";

/** The page on which a job's result is seen. */
export interface ResultLink {
  readonly page: PageName;
  readonly params: Readonly<Record<string, string | undefined>>;
  readonly label: string;
}

/** Page and name of the results of a kind of job. */
const PLACES: Readonly<Record<string, readonly [PageName, string]>> = {
  probe: ["heads", "Scores"],
  history: ["training", "History"],
  "mask-search": ["inference", "Mask"],
  needle: ["inference", "Answers"],
};

/** The link to what a job has done; undefined where there is nothing to see. */
export function resultOf({ kind, status, result }: JobSummary, runs: readonly string[]): ResultLink | undefined {
  if (kind === "train" && runs.length > 0) return { page: "training", params: runsParam.to(runs), label: "Curves" };
  if (status !== "done" || result === undefined) return undefined;
  if (kind === "experiment") return { page: "experiments", params: reportParams(result), label: "Report" };
  const page = PLACES[kind];
  return page && { page: page[0], params: {}, label: page[1] };
}

/** The report that this job has written; a job of an earlier version knows no more than its preset. */
function reportParams(result: unknown): Readonly<Record<string, string | undefined>> {
  const { experiment, preset, report } = result as Partial<JobResults["experiment"]>;
  return { ...chosenExperiment.to(experiment ?? ""), ...shownReport.to(report ?? preset ?? "") };
}
