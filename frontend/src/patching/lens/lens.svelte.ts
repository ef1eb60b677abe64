import type { LensRequest, LensResponse } from "../../../../backend/common/api/attribution.ts";
import { post } from "../../api/client.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { patching } from "../patching.svelte.ts";

/** Likeliest tokens of every layer. */
export const TOP = 5;

/** The stream after the clean prompts, read out before every layer. */
class LensState {
  readonly answer = new Answer<LensResponse>();

  /** The line that gives the same numbers. */
  readonly command: string = $derived(patching.commandOf("lens", { top: TOP }));

  /** Keeps to the pairs; run in an effect. */
  follow(): void {
    const { pairs, bos } = patching;
    const request: LensRequest = { model: workspace.model, prompts: pairs, ...bos, topTokens: TOP };
    patching.keep(this.answer, "lens", () => (call) => post<LensResponse>("/api/lens", request, call));
  }
}

export const lensState = new LensState();
