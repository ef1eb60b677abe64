import type { ShownStatus } from "../../common/words.ts";
import type { JobEntry } from "../../store/store.ts";
import { right, table } from "./format.ts";
import { time } from "./runs.ts";

/** `jobs list` for people. */
export function jobsText(jobs: readonly (Omit<JobEntry, "status"> & { readonly status: ShownStatus })[]): string {
  if (jobs.length === 0) return "There are no jobs.";
  return table(
    [right("job"), "kind", "status", right("done"), "added", ""],
    jobs.map(({ id, kind, status, progress, created, error, title }) => [
      String(id),
      kind,
      status,
      progress === undefined ? "" : `${Math.floor((100 * progress.done) / Math.max(progress.total, 1))} %`,
      time(created),
      error ?? title,
    ]),
  );
}
