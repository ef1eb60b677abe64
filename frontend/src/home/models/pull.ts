import type { JobSummary } from "../../../../backend/common/api/jobs.ts";
import { startJob } from "../../state/action.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";

/** Fetches a model. @param acceptLicence whether the person accepts its terms, where it has some @throws ApiError */
export function pull(model: string, acceptLicence = false): Promise<JobSummary> {
  return startJob({ kind: "pull", model, ...(acceptLicence ? { acceptLicence } : {}) });
}

/** The job that fetched a model last, where that failed. */
export function failedPullOf(model: string): JobSummary | undefined {
  const last = workspace.jobs.value?.findLast((job) => job.kind === "pull" && job.model === model);
  return last?.status === "failed" ? last : undefined;
}
