import { HeadscopeError } from "../../../common/errors.ts";
import { counted } from "../../../common/text.ts";
import type { HeadPlace, KvCache } from "../../../models/cache/kv-cache.ts";
import type { ForwardResult } from "../../../models/forward/types.ts";
import type { Model } from "../../../models/model.ts";
import { tf } from "../../../runtime/tf.ts";
import type { FormPolicy } from "../kinds/form.ts";
import type { Chosen } from "../kinds/policy.ts";
import type { EvictionExtent } from "./tokens/eviction.ts";
import { CacheView, queryHook } from "./tokens/view.ts";

/** A policy at work on the keys of one sequence's prompt: at its end it sees the last queries, and drops key channels of full heads. */
export class ChannelPruning {
  /** Last tokens of the prompt whose queries are looked at. */
  readonly last: number;
  readonly #model: Model;
  readonly #choice: Chosen<FormPolicy>;
  readonly #extent: EvictionExtent;

  /** @param fresh tokens of the prompt that are still to be read @throws HeadscopeError (usage) where these are too few */
  constructor(model: Model, choice: Chosen<FormPolicy>, extent: EvictionExtent, fresh: number) {
    const { policy, params } = choice;
    const window = policy.window?.(params) ?? 0;
    this.#model = model;
    this.#choice = choice;
    this.#extent = extent;
    this.last = Math.min(window, extent.tokens);
    if (fresh >= this.last) return;
    throw new HeadscopeError(
      "usage",
      `${policy.name} looks at the queries of the last ${this.last} tokens, and ${counted(fresh, "token")} ${fresh === 1 ? "comes" : "come"} behind the prefix`,
      {
        remedy: "read the prefix under the policy, and go on from it without; or give a longer question",
        field: ["policies", "prefix"],
      },
    );
  }

  /** Hook names of the queries. */
  get names(): string[] {
    return Array.from({ length: this.#model.config.n_layers }, (_, layer) => queryHook(this.#model.config, layer));
  }

  /** Sees the last part of the prompt in a cache of one row. */
  read(result: ForwardResult, cache: KvCache): void {
    if (cache.seen[0] !== this.#extent.tokens) return;
    cache.windows.forEach((heads, layer) => {
      heads.forEach((window, head) => {
        const streams = window ?? this.#extent.windows?.[layer]?.[head];
        if (!streams) this.#prune(result, cache, layer, head);
      });
    });
  }

  #prune({ activations }: ForwardResult, cache: KvCache, layer: number, head: number): void {
    const { policy, params } = this.#choice;
    const name = queryHook(this.#model.config, layer);
    const queries = { activation: activations.get(name), plain: name.endsWith("hook_q"), last: this.last };
    const view = new CacheView(this.#model, { cache, row: 0, layer, heads: [head] }, queries, {
      prompt: this.#extent.tokens,
      step: 0,
      steps: this.#extent.steps,
      prepared: undefined,
    });
    const place = { layer, row: 0, head };
    tf.tidy(() => {
      const channels = policy.channels!(view, params);
      if (policy.keyChannels!(this.#model.config, params) === channels.length) cache.pruneKeys(place, channels);
      else zero(cache, place, channels, view);
    });
  }
}

/** Sets the other channels of a KV head's keys to 0, where they lie. */
function zero(cache: KvCache, place: HeadPlace, channels: readonly number[], view: CacheView): void {
  const stays = new Set(channels);
  const mask = tf.tensor2d([Array.from({ length: view.config.d_head }, (_, c) => (stays.has(c) ? 1 : 0))]);
  const rows = { keys: tf.mul(tf.squeeze(view.keys, [0]), mask), values: tf.squeeze(view.values, [0]) };
  cache.write(place, view.places[0]!, rows);
  cache.head(place.layer, place.row, place.head).noteChannels(channels);
}
