import { isActive } from "../../../../backend/common/words.ts";
import type { JobSummary } from "../../../../backend/server/api.ts";
import { post } from "../../api/client.ts";
import { workspace } from "../../state/workspace.svelte.ts";

/** Fetches a model. @param acceptLicence whether the person accepts its terms, where it has some @throws ApiError */
export function pull(model: string, acceptLicence = false): Promise<JobSummary> {
  return post<JobSummary>("/api/jobs", { kind: "pull", model, ...(acceptLicence ? { acceptLicence } : {}) });
}

/** The job that fetches a model now, or will. */
export function pullOf(model: string): JobSummary | undefined {
  return workspace.jobs.value?.find((job) => job.kind === "pull" && isActive(job.status) && job.model === model);
}

/** The job that fetched a model last, where that failed. */
export function failedPullOf(model: string): JobSummary | undefined {
  const last = workspace.jobs.value?.findLast((job) => job.kind === "pull" && job.model === model);
  return last?.status === "failed" ? last : undefined;
}
