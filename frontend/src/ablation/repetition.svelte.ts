import type { AblateResult } from "../../../backend/common/api/interventions.ts";
import { Random, randomIds, repeatedRows } from "../../../backend/common/random.ts";
import { post } from "../api/client.ts";
import { Answer } from "../state/answer.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { ablationRequest } from "./ablationRequest.svelte.ts";
import type { Rows } from "./interventions/interventions.ts";
import { seed, segment } from "./params.ts";
import { secondCopy } from "./rows.ts";

const ROWS = 4;
/** Tokens of a segment unless asked otherwise, and at most: four rows of 200 tokens take SmolLM2 some seconds. */
const USUAL = 25;
const LONGEST = 100;

/** Seconds that it may take without another yes: it was asked for by a button. */
const PATIENCE = 90;

/** A measurement on rows of random tokens that stand twice. */
export interface Repeated {
  readonly result: AblateResult;
  readonly rows: Rows;
  readonly length: number;
  /** Losses of the second copy that can be foretold, [start, end). */
  readonly copy: readonly [number, number];
}

/** Ablation on repeated random tokens, which only induction can foretell; measured when the reader asks. */
class RepeatedTokens {
  readonly answer = new Answer<Repeated>();

  /** Longest segment: it must fit into the model's context twice, after BOS. */
  readonly longest: number = $derived(
    Math.min(LONGEST, Math.floor(((workspace.info.value?.config.n_ctx ?? 64) - 1) / 2)),
  );

  /** Tokens of the segment: as asked, or as many as are usual and fit. */
  readonly length: number = $derived(Math.min(this.longest, segment.value === 0 ? USUAL : Math.max(2, segment.value)));

  readonly rows: Rows = $derived.by(() => {
    const info = workspace.info.value;
    if (info === undefined) return [];
    const pool = { vocabulary: info.config.d_vocab, first: ablationRequest.bos };
    const random = new Random(seed.value);
    return repeatedRows(ablationRequest.bos, ROWS, () => randomIds(pool, this.length, random));
  });

  readonly reference: Rows = $derived(ablationRequest.referenceFor(2 * this.length + 1));

  /** Keeps to what would be measured now; run in an effect. */
  follow(): void {
    const digest = workspace.info.value?.digest;
    const { rows, length, reference } = this;
    const request = { ...ablationRequest.request(reference), model: workspace.model, rows, topTokens: 1 };
    const question = digest === undefined || ablationRequest.heads.length === 0 ? undefined : [digest, request];
    this.answer.follow(
      question,
      async (call) => {
        const result = await post<AblateResult>("/api/ablate", request, call);
        return { result, rows, length, copy: secondCopy(length) };
      },
      { byHand: true, patience: PATIENCE },
    );
  }
}

export const repetition = new RepeatedTokens();
