import { KvCache } from "../../../models/cache/kv-cache.ts";
import { forward } from "../../../models/forward/forward.ts";
import type { ForwardOptions } from "../../../models/forward/types.ts";
import type { Model } from "../../../models/model.ts";
import { tf } from "../../../runtime/tf.ts";
import type { FilterPolicy } from "../kinds/inputs.ts";
import { type Budget, kept } from "../kinds/parameters.ts";
import type { Chosen } from "../kinds/policy.ts";
import { CacheView, queryHook } from "../work/tokens/view.ts";

/**
 * The tokens of a prompt that the whole model is to read, as its first layers find them.
 * @param options of the forwards through these
 * @returns places in the prompt, ascending; undefined where all are read
 */
export function chosenInputs(
  model: Model,
  { policy, params }: Chosen<FilterPolicy>,
  tokens: readonly number[],
  options: Pick<ForwardOptions, "onLayer" | "activations">,
): number[] | undefined {
  const count = kept(params as Budget, tokens.length);
  const stopLayer = policy.layers(params, model.config.n_layers);
  if (count >= tokens.length) return undefined;
  const layer = stopLayer - 1;
  const name = queryHook(model.config, layer);
  const cache = new KvCache(model.config, { layers: stopLayer, capacity: tokens.length });
  try {
    const before = { tokens: [tokens.slice(0, -1)], cache, stopLayer, logitsAt: "none" } as const;
    forward(model, before, options).dispose();
    const last = forward(model, { ...before, tokens: [tokens.slice(-1)] }, { ...options, names: [name] });
    const heads = [...Array(model.config.n_key_value_heads).keys()];
    const queries = { activation: last.activations.get(name), plain: name.endsWith("hook_q"), last: 1 };
    const progress = { prompt: tokens.length, step: 0, steps: 0, prepared: undefined };
    const view = new CacheView(model, { cache, row: 0, layer, heads }, queries, progress);
    let chosen: number[] = [];
    tf.tidy(() => {
      chosen = policy.choose(view, count, params);
    });
    last.dispose();
    return chosen;
  } finally {
    cache.dispose();
  }
}
