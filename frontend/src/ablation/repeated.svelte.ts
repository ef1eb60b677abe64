import type { AblateResult } from "../../../backend/server/api.ts";
import { post } from "../api/client.ts";
import { Latest } from "../api/latest.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { asked } from "./asked.svelte.ts";
import type { Rows } from "./interventions.ts";
import { seed, segment } from "./params.ts";
import { repeatedRows, secondCopy } from "./rows.ts";

const ROWS = 4;
/** Tokens of a segment unless asked otherwise, and at most: four rows of 200 tokens take SmolLM2 some seconds. */
const USUAL = 25;
const LONGEST = 100;

/** A measurement on rows of random tokens that stand twice. */
export interface Repeated {
  readonly result: AblateResult;
  readonly rows: Rows;
  readonly length: number;
  /** Losses of the second copy that can be foretold, [start, end). */
  readonly copy: readonly [number, number];
  /** What it was asked with; another key means that it is out of date. */
  readonly key: string;
}

/** Ablation on repeated random tokens, which only induction can foretell. */
class RepeatedTokens {
  readonly latest = new Latest<Repeated>();

  /** Longest segment: it must fit into the model's context twice, after BOS. */
  readonly longest: number = $derived(
    Math.min(LONGEST, Math.floor(((workspace.info.value?.config.n_ctx ?? 64) - 1) / 2)),
  );

  /** Tokens of the segment: as asked, or as many as are usual and fit. */
  readonly length: number = $derived(Math.min(this.longest, segment.value === 0 ? USUAL : Math.max(2, segment.value)));

  readonly rows: Rows = $derived.by(() => {
    const info = workspace.info.value;
    if (info === undefined) return [];
    const { length } = this;
    return repeatedRows({ rows: ROWS, length, vocabulary: info.config.d_vocab, bos: asked.bos, seed: seed.value });
  });

  readonly reference: Rows = $derived(asked.referenceFor(2 * this.length + 1));
  readonly key: string = $derived(
    JSON.stringify([workspace.info.value?.digest, this.rows, asked.request(this.reference)]),
  );

  measure(): void {
    const { rows, length, key, reference } = this;
    const request = { ...asked.request(reference), model: workspace.model, rows, topTokens: 1 };
    this.latest.ask(async (signal) => {
      const result = await post<AblateResult>("/api/ablate", request, signal);
      return { result, rows, length, copy: secondCopy(length, true), key };
    });
  }
}

export const repeated = new RepeatedTokens();
