import type { ModelConfig } from "../../models/config.ts";
import type { Window } from "../../models/transformer/attention.ts";
import type { TokenChoice } from "./choice.ts";
import { kept } from "./kinds/parameters.ts";

/** A prompt, the model that reads it, and the windows of heads that stream, by layer and KV head. */
interface CountedPrompt {
  readonly tokens: number;
  readonly config: Pick<ModelConfig, "n_layers" | "n_key_value_heads">;
  readonly windows?: readonly (readonly (Window | undefined)[])[] | undefined;
}

/** Tokens that each KV head keeps of a prompt, by layer, of those that do not stream; infinite where nothing is to go. */
export function countsOf(
  { policy, params, prepared }: TokenChoice,
  { tokens, config: { n_layers, n_key_value_heads }, windows }: CountedPrompt,
): number[][] {
  const even = kept(params, tokens);
  const evenly = (count: number): number[] => new Array<number>(n_key_value_heads).fill(count);
  if (even < tokens) {
    const full = Array.from({ length: n_layers }, (_, layer) =>
      Array.from({ length: n_key_value_heads }, (_, head) => windows?.[layer]?.[head] === undefined),
    );
    const byHead = policy.countsByHead?.(params, { tokens, full }, prepared);
    const byLayer = policy.counts?.(params, tokens, n_layers);
    if (byHead ?? byLayer) return byHead ?? byLayer!.map(evenly);
  }
  return Array.from({ length: n_layers }, () => evenly(even));
}
