import type { FootprintAnswer, FootprintRequest } from "../../../../backend/common/api/footprint.ts";
import type { GenerateResult } from "../../../../backend/common/api/generation.ts";
import { post } from "../../api/client.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { less } from "../less.svelte.ts";
import { policyState } from "../policies/policies.svelte.ts";
import { comparison, settings } from "../text/generation.svelte.ts";
import { allFull, curveTokens, shapeOf, splitOf } from "./kv.ts";
import { newTokensOf } from "./predicted.ts";

/** Milliseconds within which the moves of a slider are one. */
const PAUSE = 150;

/** Bytes under the policies that are chosen, as the server predicts them. */
class Footprints {
  /** By length, up to the model's context. */
  readonly curve = new Answer<FootprintAnswer>();
  /** Of the text that was generated. */
  readonly text = new Answer<FootprintAnswer>();

  /** True where there are policies to predict for: a mask alone needs no server. */
  readonly wanted: boolean = $derived(policyState.chosen.length > 0);

  /** Measured of the same text and model with less held: also under the settings before. */
  readonly measured: GenerateResult | undefined = $derived((comparison.full.value && comparison.masked.latest)?.result);
  /** Measured with everything held. */
  readonly full: GenerateResult | undefined = $derived(comparison.full.value?.result);

  readonly #choice = $derived.by((): Omit<FootprintRequest, "tokens"> | undefined => {
    if (!this.wanted || policyState.wrong || workspace.info.value === undefined) return undefined;
    const { mask } = less;
    return {
      model: workspace.model,
      policies: policyState.requests,
      ...(mask ? { mask, prefill: settings.prefill.value } : {}),
    };
  });

  /** Keeps to the choice; run in an effect of the page. */
  follow(): void {
    const info = workspace.info.value;
    const choice = this.#choice;
    const ask = (answer: Answer<FootprintAnswer>, request: FootprintRequest | undefined): void =>
      answer.follow(request && [info?.digest, request], request && ((call) => post("/api/footprint", request, call)), {
        pause: PAUSE,
      });
    const run = this.measured ?? this.full;
    const split = less.mask ? splitOf(less.mask) : info && allFull(shapeOf(info.config));
    ask(this.curve, choice && info && split && { ...choice, tokens: curveTokens(info.config.n_ctx, split) });
    ask(this.text, choice && run && { ...choice, tokens: [run.promptTokens], newTokens: newTokensOf(run) });
  }
}

export const footprints = new Footprints();
