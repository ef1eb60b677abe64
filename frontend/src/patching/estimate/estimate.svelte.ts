import type { PatchRequest, PatchResponse } from "../../../../backend/common/api/patching.ts";
import { post } from "../../api/client.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { type Patched, patching } from "../patching.svelte.ts";
import { restoration } from "../result/restoration.ts";
import { placeName } from "../result/result.ts";
import { type Gap, gapsOf } from "./gaps.ts";

/** An estimate of the table that is shown, beside it. */
export interface Estimated {
  readonly patched: Patched;
  readonly response: PatchResponse;
  readonly gaps: readonly Gap[];
}

/** Attribution patching beside the exact table; asked for by hand. */
class Estimate {
  readonly answer = new Answer<Estimated>();

  /** The exact table of single activations that there is an estimate of; undefined for paths and for estimates. */
  readonly exact: Patched | undefined = $derived.by(() => {
    const { value } = patching.result;
    return value !== undefined && value.path === undefined && value.method === "exact" ? value : undefined;
  });

  /** The line that gives the estimates. */
  get command(): string {
    const { node, by } = patching.request ?? {};
    return patching.commandOf("patch", { node, by, method: "attribution", ...patching.choices });
  }

  /** Keeps to the table that is shown; run in an effect. */
  follow(): void {
    const { request } = patching;
    const { exact } = this;
    const body: PatchRequest | undefined =
      request === undefined || request.into !== undefined || request.method === "attribution"
        ? undefined
        : { ...request, method: "attribution" };
    const asked = patching.problem === undefined && body ? ["estimate", body] : undefined;
    const ask = exact && body && (() => async (call: object) => beside(exact, await post("/api/patch", body, call)));
    patching.keep(this.answer, asked, ask ?? (() => undefined), { byHand: true });
  }
}

function beside(patched: Patched, response: PatchResponse): Estimated {
  const gaps = gapsOf(restoration(patched.response), restoration(response), (place) => placeName(patched, place));
  return { patched, response, gaps };
}

export const estimate = new Estimate();
