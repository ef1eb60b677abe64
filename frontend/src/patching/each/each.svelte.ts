import type { AblateEachRequest, AblateEachResponse } from "../../../../backend/common/api/patching.ts";
import { ABLATED_PARTS, ABLATION_METHODS } from "../../../../backend/common/words.ts";
import { post } from "../../api/client.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { choice, number } from "../../state/codecs.ts";
import { urlParam } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { pairMetric } from "../params.ts";
import { patching } from "../patching.svelte.ts";
import { oddLength } from "../result/restoration.ts";

/** Parts of which one is taken out at a time. */
export const eachPart = urlParam("each", choice(ABLATED_PARTS, "source"));
/** The stand-in for what is taken out. */
export const eachMethod = urlParam("each-by", choice(ABLATION_METHODS, "zero"));
/** Layers in which a source token is hidden together. */
export const eachWindow = urlParam("window", number(1, { least: 1, most: 99, whole: true }));

/** A finished ablation of each part, with the tokens of the first pair. */
export interface EachAblated {
  readonly response: AblateEachResponse;
  readonly tokens: readonly string[];
}

/** The clean prompts' metric without one part at a time; asked for by hand, for it takes a run a part. */
class Each {
  readonly answer = new Answer<EachAblated>();

  readonly request: AblateEachRequest = $derived.by(() => {
    const each = eachPart.value;
    const { metric } = patching.choices;
    return {
      model: workspace.model,
      pairs: patching.pairs,
      ...patching.bos,
      each,
      ...(each === "source" || eachMethod.value === "zero" ? {} : { method: eachMethod.value }),
      ...(metric === undefined ? {} : { metric }),
      ...(each === "source" && this.window > 1 ? { window: this.window } : {}),
    };
  });

  /** Layers that hide a token together: odd, so that they have a middle. */
  readonly window: number = $derived(eachWindow.value - ((eachWindow.value + 1) % 2));

  /** Why there can be no table; undefined where there can. */
  readonly problem: string | undefined = $derived(
    eachPart.value === "source" ? oddLength(patching.alignments.value ?? []) : undefined,
  );

  /** The line that gives the same numbers. */
  readonly command: string = $derived.by(() => {
    const { each, method, window } = this.request;
    return patching.commandOf("ablate", {
      each,
      method,
      window,
      metric: pairMetric.value === "logit-diff" ? undefined : pairMetric.value,
    });
  });

  /** Keeps to the question; run in an effect. */
  follow(): void {
    const { request, problem } = this;
    const { each, method, metric, window } = request;
    const tokens = patching.alignments.value?.[0]?.clean.tokens ?? [];
    patching.keep(
      this.answer,
      problem === undefined ? ["each", each, method, metric, window] : undefined,
      () => async (call) => ({ response: await post<AblateEachResponse>("/api/ablate-each", request, call), tokens }),
      { byHand: true, patience: 120 },
    );
  }
}

export const each = new Each();
