import type { JobSummary } from "../../../backend/common/api/jobs.ts";
import type { Problem } from "../../../backend/common/api/problem.ts";
import type { JobRequest } from "../../../backend/jobs/kinds/index.ts";
import { ApiError, deleteAt, post } from "../api/client.ts";
import { workspace } from "./workspace.svelte.ts";

/** Something that a button asks the server to do: whether it is under way, and why it was refused. */
export class Action {
  busy = $state(false);
  problem = $state.raw<Problem>();

  /** @returns what the work gives; undefined where it was refused, or one is under way */
  async do<T>(work: () => Promise<T>): Promise<T | undefined> {
    if (this.busy) return undefined;
    this.busy = true;
    this.problem = undefined;
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.problem = error.problem;
      return undefined;
    } finally {
      this.busy = false;
    }
  }
}

/** Asks for a job. @throws ApiError */
export function startJob(request: JobRequest): Promise<JobSummary> {
  return post("/api/jobs", request);
}

/** A job that is started here: why it was refused, and how it stands. */
export class JobAction extends Action {
  #started = $state.raw<JobSummary>();

  /** The job started last, as the server's events have it. */
  get job(): JobSummary | undefined {
    const own = this.#started;
    return own && (workspace.jobs.value?.find(({ id }) => id === own.id) ?? own);
  }

  /** @returns the job; undefined where it was refused */
  start(request: JobRequest): Promise<JobSummary | undefined> {
    return this.do(async () => {
      this.#started = await startJob(request);
      return this.#started;
    });
  }
}

/** Stops a job: a run that trains is saved where it is, and can go on from there. @throws ApiError */
export function cancelJob(id: number): Promise<void> {
  return post(`/api/jobs/${id}/cancel`, {});
}

/** Takes a job that has ended off the list; what it made stays. @throws ApiError */
export function removeJob(id: number): Promise<void> {
  return deleteAt(`/api/jobs/${id}`);
}
