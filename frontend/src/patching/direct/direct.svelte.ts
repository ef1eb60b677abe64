import type { AttributeRequest, AttributeResponse } from "../../../../backend/common/api/attribution.ts";
import { post } from "../../api/client.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { patching } from "../patching.svelte.ts";
import { restoration } from "../result/restoration.ts";

/** The share of every part of the stream in the logit difference after the clean prompts. */
class Direct {
  readonly answer = new Answer<AttributeResponse>();

  /** The line that gives the same numbers. */
  readonly command: string = $derived(patching.commandOf("attribute", {}));

  /**
   * The shares of the patching that is shown, where it is one of single heads' outputs, so that they stand beside direct effects
   * [layers][heads].
   */
  readonly restored: readonly (readonly number[])[] | undefined = $derived.by(() => {
    const { value } = patching.result;
    const byHead = value !== undefined && value.path === undefined && value.node === "z" && value.by === "head";
    return byHead ? restoration(value.response) : undefined;
  });

  /** Keeps to the pairs; run in an effect. */
  follow(): void {
    const { pairs, bos } = patching;
    const request: AttributeRequest = { model: workspace.model, prompts: pairs, ...bos };
    patching.keep(this.answer, "attribute", () => (call) => post<AttributeResponse>("/api/attribute", request, call));
  }
}

export const direct = new Direct();
