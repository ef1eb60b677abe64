import type { JobSummary } from "../../../../backend/common/api/jobs.ts";
import type { HeadMask } from "../../../../backend/common/heads/mask.ts";
import { isActive } from "../../../../backend/common/words.ts";
import type { JobResults } from "../../../../backend/jobs/kinds/index.ts";
import { get } from "../../api/client.ts";
import { JobAction } from "../../state/action.svelte.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { number, text } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import type { NeedleAsk } from "../commands.ts";
import { maskState } from "../mask/maskState.svelte.ts";
import { defaultLengths, depthsProblem, lengthsProblem, offeredLengths, readNumbers } from "./needle.ts";

type Needles = JobResults["needle"];

const jobParam = urlParam("needle-job", number(0, { least: 0, whole: true }));

export const needleParams = {
  /** "" stands for the shortest lengths at which the mask drops something. */
  lengths: urlParam("needle-lengths", text()),
  depths: urlParam("needle-depths", text("0.1, 0.5, 0.9")),
  needles: urlParam("needles", number(1, { least: 1, most: 20, whole: true })),
  /** NaN stands for what an answer takes. */
  maxTokens: urlParam("needle-tokens", number(Number.NaN, { least: 1, most: 64, whole: true })),
  seed: urlParam("needle-seed", number(0, { least: 0, whole: true })),
};

/** The cell whose answers are shown alone, "LENGTH DEPTH"; "" for all. */
export const cellParam = urlParam("needle-cell", text());

/** Needle questions in long texts, with all heads full and with the mask: a job, and its answers. */
class NeedleTest {
  readonly action = new JobAction();
  /** The answers of a job whose summary does not carry them. */
  readonly read = new Answer<JobSummary>();
  /** Masks that were tested in this session, by job. */
  #masks = $state.raw<ReadonlyMap<number, string>>(new Map());

  readonly context = $derived(workspace.info.value?.config.n_ctx ?? 0);
  readonly offered = $derived(offeredLengths(this.context));
  readonly lengths = $derived(
    needleParams.lengths.value === ""
      ? defaultLengths(this.offered, maskState.mask)
      : readNumbers(needleParams.lengths.value),
  );
  readonly depths = $derived(readNumbers(needleParams.depths.value));
  /** Most tokens of an answer: a number in words, or the four ids of models without a tokenizer. */
  readonly maxTokens = $derived.by(() => {
    const asked = needleParams.maxTokens.value;
    return Number.isNaN(asked) ? (workspace.info.value?.tokenizer === undefined ? 4 : 12) : asked;
  });
  readonly lengthsProblem = $derived(lengthsProblem(this.lengths, this.context, this.maxTokens));
  readonly depthsProblem = $derived(depthsProblem(this.depths));

  /** The job that is shown: the URL's, where this server knows it, else the last one that has answers of this model. */
  readonly job = $derived.by(() => {
    const jobs = workspace.jobs.value ?? [];
    const id = jobParam.value;
    const known = jobs.find((each) => each.id === id) ?? (this.action.job?.id === id ? this.action.job : undefined);
    const model = workspace.info.value?.ref;
    return (
      known ??
      jobs.findLast(({ kind, result }) => kind === "needle" && (result as Needles | undefined)?.model === model)
    );
  });
  readonly running = $derived(this.job !== undefined && isActive(this.job.status));

  /** Answers for the present model; undefined while there are none. */
  readonly result = $derived.by((): Needles | undefined => {
    const result = (this.job?.result ?? this.read.value?.result) as Needles | undefined;
    return result?.model === workspace.info.value?.ref ? result : undefined;
  });

  /** Says whether the answers that are shown were given with this mask; undefined where that is not known. */
  sameMask(mask: HeadMask | undefined): boolean | undefined {
    const tested = this.job === undefined ? undefined : this.#masks.get(this.job.id);
    return tested === undefined ? undefined : tested === key(mask);
  }

  /** The request; undefined while it cannot be: without a mask, or with numbers that make no sense. */
  readonly request = $derived.by((): NeedleAsk | undefined => {
    const { lengths, depths, maxTokens } = this;
    if (maskState.mask === undefined || lengths === undefined || depths === undefined) return undefined;
    if (this.lengthsProblem !== undefined || this.depthsProblem !== undefined) return undefined;
    const { needles, seed } = needleParams;
    return { model: workspace.model, lengths, depths, needles: needles.value, maxTokens, seed: seed.value };
  });

  async start(): Promise<void> {
    const { request } = this;
    const { mask } = maskState;
    if (request === undefined || mask === undefined) return;
    const job = await this.action.start({ kind: "needle", mask, ...request });
    if (job === undefined) return;
    this.#masks = new Map([...this.#masks, [job.id, key(mask)]]);
    jobParam.value = job.id;
  }

  /** Reads the answers of a finished job, where the list of jobs does not hold them; run in an effect of the page. */
  follow(): void {
    const id = this.job?.status === "done" && this.job.result === undefined ? this.job.id : undefined;
    this.read.follow(id, (call) => get<JobSummary>(`/api/jobs/${id}`, call));
  }
}

function key(mask: HeadMask | undefined): string {
  return JSON.stringify([mask?.kvHeads, mask?.heads, mask?.sink, mask?.recent]);
}

export const needle = new NeedleTest();
