import type { JobSummary } from "../../../../backend/common/api/jobs.ts";
import { isActive } from "../../../../backend/common/words.ts";
import type { JobResults } from "../../../../backend/jobs/kinds/index.ts";
import { get } from "../../api/client.ts";
import { JobAction } from "../../state/action.svelte.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { number, text } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import type { Held, NeedleAsk } from "../commands.ts";
import { less } from "../less.svelte.ts";
import { policyState } from "../policies/policies.svelte.ts";
import { settings } from "../text/generation.svelte.ts";
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

/** Needle questions in long texts, with everything held and read and with the mask and policies chosen: a job, and its answers. */
class NeedleTest {
  readonly action = new JobAction();
  /** The answers of a job whose summary does not carry them. */
  readonly read = new Answer<JobSummary>();
  /** Masks and policies that were tested in this session, by job. */
  #tested = $state.raw<ReadonlyMap<number, string>>(new Map());

  readonly context = $derived(workspace.info.value?.config.n_ctx ?? 0);
  readonly offered = $derived(offeredLengths(this.context));
  readonly lengths = $derived(
    needleParams.lengths.value === ""
      ? defaultLengths(this.offered, less.mask)
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

  /** The policies chosen beside the mask, and the reach of its windows. */
  readonly held: Held = $derived({ prefill: settings.prefill.value, policies: policyState.requests });
  readonly #key = $derived(keyOf(less.mask, this.held));

  /** Says whether the answers that are shown were given with what is chosen now; undefined where that is not known. */
  readonly same = $derived.by((): boolean | undefined => {
    const tested = this.job === undefined ? undefined : this.#tested.get(this.job.id);
    return tested === undefined ? undefined : tested === this.#key;
  });

  /** Why nothing can be asked, and what to do. */
  readonly refused = $derived.by(() => {
    if (less.mask === undefined && this.held.policies.length === 0)
      return "Choose heads in step 1 or a policy in step 2 first.";
    if (policyState.wrong) return "A parameter of step 2 can't be.";
    return this.lengthsProblem ?? this.depthsProblem;
  });

  /** The request; undefined while it cannot be: with nothing chosen, or with numbers that make no sense. */
  readonly request = $derived.by((): NeedleAsk | undefined => {
    const { lengths, depths, maxTokens } = this;
    if (this.refused !== undefined || lengths === undefined || depths === undefined) return undefined;
    const { needles, seed } = needleParams;
    return { model: workspace.model, lengths, depths, needles: needles.value, maxTokens, seed: seed.value };
  });

  async start(): Promise<void> {
    const { request, held } = this;
    const { mask } = less;
    if (request === undefined) return;
    const key = this.#key;
    const heads = mask ? { mask, prefill: held.prefill } : {};
    const policies = held.policies.length > 0 ? { policies: held.policies } : {};
    const job = await this.action.start({ kind: "needle", ...heads, ...policies, ...request });
    if (job === undefined) return;
    this.#tested = new Map([...this.#tested, [job.id, key]]);
    jobParam.value = job.id;
  }

  /** Reads the answers of a finished job, where the list of jobs does not hold them; run in an effect of the page. */
  follow(): void {
    const id = this.job?.status === "done" && this.job.result === undefined ? this.job.id : undefined;
    this.read.follow(id, (call) => get<JobSummary>(`/api/jobs/${id}`, call));
  }
}

function keyOf(mask: typeof less.mask, { prefill, policies }: Held): string {
  return JSON.stringify([mask?.kvHeads, mask?.heads, mask?.sink, mask?.recent, mask && prefill, policies]);
}

export const needle = new NeedleTest();
