import type { ModelConfig } from "../../models/config.ts";
import type { TokenChoice } from "./choice.ts";
import { kept } from "./kinds/parameters.ts";

/** Tokens that each KV head keeps of a prompt, by layer; infinite where nothing is to go. */
export function countsOf(
  { policy, params, prepared }: TokenChoice,
  tokens: number,
  { n_layers, n_key_value_heads }: Pick<ModelConfig, "n_layers" | "n_key_value_heads">,
): number[][] {
  const even = kept(params, tokens);
  const evenly = (count: number): number[] => new Array<number>(n_key_value_heads).fill(count);
  if (even < tokens) {
    const byHead = policy.countsByHead?.(params, tokens, prepared);
    const byLayer = policy.counts?.(params, tokens, n_layers);
    if (byHead ?? byLayer) return byHead ?? byLayer!.map(evenly);
  }
  return Array.from({ length: n_layers }, () => evenly(even));
}
