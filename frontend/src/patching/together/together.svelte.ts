import type { PatchPlacesRequest, PatchPlacesResponse } from "../../../../backend/common/api/patching.ts";
import { post } from "../../api/client.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { selection } from "../../state/selection.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { together as placesParam } from "../params.ts";
import { patching } from "../patching.svelte.ts";

/** Several places patched in one run. */
class Together {
  readonly answer = new Answer<PatchPlacesResponse>();

  /** The places as written, or the outputs of the selected heads. */
  readonly places: readonly string[] = $derived(
    placesParam.value.trim() === ""
      ? selection.value
      : placesParam.value
          .split(",")
          .map((place) => place.trim())
          .filter((place) => place !== ""),
  );

  /** The line that gives the same number. */
  readonly command: string = $derived(
    patching.commandOf("patch", { places: this.places.join(","), ...patching.choices }),
  );

  /** Keeps to the pairs and the places; run in an effect. */
  follow(): void {
    const { places } = this;
    const { pairs, bos, choices } = patching;
    const request: PatchPlacesRequest = { model: workspace.model, pairs, ...bos, places, ...choices };
    patching.keep(
      this.answer,
      places.length === 0 ? undefined : ["together", places, choices],
      () => (call) => post<PatchPlacesResponse>("/api/patch-places", request, call),
    );
  }
}

export const together = new Together();
