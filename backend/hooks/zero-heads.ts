import type { Head } from "../common/heads/head.ts";
import type { Intervention } from "./interventions.ts";

/** Heads whose output z is 0 at every position, as interventions. @returns one a layer */
export function zeroHeads(heads: readonly Head[]): Intervention[] {
  const byLayer = new Map<number, number[]>();
  for (const { layer, head } of heads) byLayer.set(layer, [...(byLayer.get(layer) ?? []), head]);
  return [...byLayer].map(([layer, chosen]) => ({ at: "attn.hook_z", layer, heads: chosen, do: "zero" }));
}
