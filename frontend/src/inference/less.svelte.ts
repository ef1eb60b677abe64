import { maskState } from "./mask/maskState.svelte.ts";
import { params, policyState } from "./policies/policies.svelte.ts";

/** Ways to hold less that are chosen in the first two steps, together. */
class Less {
  /** The mask, where it is to be used. */
  readonly mask = $derived(params.withMask.value ? maskState.mask : undefined);

  /** Such as "the mask and knorm". */
  readonly title = $derived.by(() => {
    const own = this.mask === undefined ? [] : [maskState.ablates ? "heads ablated" : "the mask"];
    return [...own, ...policyState.chosen.map(({ name }) => name)].join(" and ") || "the mask";
  });
}

export const less = new Less();
