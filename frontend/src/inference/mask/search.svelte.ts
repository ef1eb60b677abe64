import type { JobRequest } from "../../../../backend/jobs/kinds/index.ts";
import { Action, startJob } from "../../state/action.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { maskState } from "./maskState.svelte.ts";

type MaskSearchJob = Extract<JobRequest, { kind: "mask-search" }>;

/** Tokens of the questions: some times what a streaming head holds, so that the needle is beyond it. */
const TIMES = 3;

/** The search for the smallest mask that answers, as a job. */
class MaskSearch {
  readonly action = new Action();

  /** The request; undefined while there are no scores to go by. */
  readonly request = $derived.by((): MaskSearchJob | undefined => {
    const info = workspace.info.value;
    if (info === undefined || maskState.document === undefined) return undefined;
    const { metric, choice } = maskState;
    const { sink, recent } = choice;
    const length = Math.min(TIMES * (sink + recent), info.config.n_ctx - 16);
    return {
      kind: "mask-search",
      model: workspace.model,
      scores: maskState.document.id,
      metric,
      sink,
      recent,
      lengths: [length],
    };
  });

  /** The search that is at work or waits, of the present model. */
  readonly job = $derived.by(() => workspace.activeJob("mask-search"));

  /** The last search of the present model where it failed. */
  readonly failed = $derived.by(() => {
    const last = workspace.jobs.value?.findLast(
      ({ kind, model }) => kind === "mask-search" && model === workspace.model,
    );
    return last?.status === "failed" ? last : undefined;
  });

  async start(): Promise<void> {
    const { request } = this;
    if (request !== undefined) await this.action.do(() => startJob(request));
  }
}

export const maskSearch = new MaskSearch();
