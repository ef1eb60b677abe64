import type { JobSummary } from "../../../backend/common/api/jobs.ts";

/** The state of a job in words. */
export function jobWords({ status, title, error }: Pick<JobSummary, "status" | "title" | "error">): string {
  switch (status) {
    case "queued":
      return `${title}: waits for its turn`;
    case "failed":
      return `${title} failed: ${error ?? "for no reason given"}`;
    case "done":
      return `${title}: done, shown in the grid`;
    default:
      return `${title}: ${status}`;
  }
}
