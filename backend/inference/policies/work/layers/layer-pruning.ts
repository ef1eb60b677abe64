import type { Tensor } from "@tensorflow/tfjs";
import type { KvCache } from "../../../../models/cache/kv-cache.ts";
import type { AttentionReader, AttentionStep } from "../../../../models/cache/reader.ts";
import { forward } from "../../../../models/forward/forward.ts";
import type { ForwardInput, ForwardOptions, ForwardResult } from "../../../../models/forward/types.ts";
import type { Model } from "../../../../models/model.ts";
import { tf } from "../../../../runtime/tf.ts";
import type { PruningPolicy } from "../../kinds/inputs.ts";
import type { Chosen } from "../../kinds/policy.ts";
import { cutSpans, inOrder, single, stretchesOf } from "../stretches.ts";
import type { EvictionExtent } from "../tokens/eviction.ts";
import { CacheView, queryHook } from "../tokens/view.ts";
import { type TokenStates, WaitingTokens } from "./waiting-tokens.ts";

/** Layers that the same tokens go through. */
interface Segment {
  readonly first: number;
  readonly end: number;
  /** Percentile of attention in its last layer below which tokens are left out behind it. */
  readonly percentile: number;
  /** Tokens that it has not run on yet. */
  readonly waiting: WaitingTokens;
  /** Tokens that it has run on. */
  held: number;
}

/** A policy at work on the tokens of one sequence that go through a model's later layers. */
export class LayerPruning {
  readonly #model: Model;
  readonly #policy: PruningPolicy;
  readonly #extent: EvictionExtent;
  readonly #segments: readonly Segment[];
  /** Shares read of the keys held, of new tokens so far, and the layers that they are of. */
  readonly #share = { sum: 0, of: 0 };

  constructor(model: Model, { policy, params }: Chosen<PruningPolicy>, extent: EvictionExtent) {
    const { n_layers } = model.config;
    const stages = policy.stages(params, n_layers);
    const percentiles = policy.percentiles(params, stages.length, extent.tokens);
    this.#model = model;
    this.#policy = policy;
    this.#extent = extent;
    this.#segments = [...stages, n_layers].map((end, i) => ({
      first: stages[i - 1] ?? 0,
      end,
      percentile: percentiles[i] ?? 0,
      waiting: new WaitingTokens(),
      held: 0,
    }));
  }

  /** True where anything is left out at all. */
  get prunes(): boolean {
    return this.#segments.some(({ percentile }) => percentile > 0);
  }

  /** Bytes of the states of tokens that wait. */
  get bytes(): number {
    return this.#segments.reduce((sum, { waiting }) => sum + waiting.bytes, 0);
  }

  /** Mean share that new tokens have read of the keys held, over the layers; undefined of none. */
  get share(): number | undefined {
    return this.#share.of === 0 ? undefined : this.#share.sum / this.#share.of;
  }

  /**
   * Runs the prompt, or the tokens behind it, and of earlier ones what the last token wants in layers that have not run on them.
   * @param cache of one row, which counts the tokens from here on
   * @returns of the last layers: logits of the last token alone
   */
  run(tokens: readonly number[], cache: KvCache, options: ForwardOptions): ForwardResult {
    const first = cache.lengths[0]!;
    cache.reserve(tokens.length);
    cache.advance(tokens.length);
    let alive = Array.from({ length: first + tokens.length }, (_, position) => position);
    let running: TokenStates | undefined;
    try {
      for (const segment of this.#segments) {
        const arriving = running;
        running = arriving && segment.waiting.pass(arriving, new Set(alive));
        arriving?.states.dispose();
        const places = running?.positions ?? alive.slice(first);
        const input = running ? { resid: running.states } : { tokens: [[...tokens]] };
        const result = this.#run(segment, { ...input, cache, places: [places] }, { options, alive });
        running?.states.dispose();
        if (segment.end === this.#model.config.n_layers) return result;
        running = { positions: places, states: tf.clone(result.resid) };
        alive = this.#goOn(segment, { cache, result, alive });
        result.dispose();
      }
    } catch (error) {
      running?.states.dispose();
      throw error;
    }
    throw new RangeError("the last segment ends with the model");
  }

  /** Frees the states of tokens that wait. */
  dispose(): void {
    for (const { waiting } of this.#segments) waiting.dispose();
  }

  /** Runs a segment's layers. @param running.alive tokens that are read there */
  #run(
    segment: Segment,
    input: Pick<ForwardInput, "resid" | "tokens"> & { cache: KvCache; places: readonly [readonly number[]] },
    { options, alive }: { options: ForwardOptions; alive: readonly number[] },
  ): ForwardResult {
    const { first, end } = segment;
    const ends = end === this.#model.config.n_layers;
    segment.held += input.places[0].length;
    if (input.cache.lengths[0]! > this.#extent.tokens) {
      this.#share.sum += ((end - first) * alive.length) / segment.held;
      this.#share.of += end - first;
    }
    return forward(
      this.#model,
      { ...input, startLayer: first, stopLayer: end, logitsAt: ends ? "last" : "none" },
      {
        ...options,
        names: ends ? [] : [queryHook(this.#model.config, end - 1)],
        ...(alive.length < segment.held ? { reader: readerOf(alive) } : {}),
      },
    );
  }

  /** The tokens that go on behind a segment. */
  #goOn(
    { end, percentile }: Segment,
    { cache, result, alive }: { cache: KvCache; result: ForwardResult; alive: readonly number[] },
  ): number[] {
    const layer = end - 1;
    const heads = [...Array(this.#model.config.n_key_value_heads).keys()];
    const name = queryHook(this.#model.config, layer);
    const queries = { activation: result.activations.get(name), plain: name.endsWith("hook_q"), last: 1 };
    const progress = { prompt: this.#extent.tokens, step: 0, steps: this.#extent.steps, prepared: undefined };
    let places: number[] = [];
    tf.tidy(() => {
      const view = new CacheView(this.#model, { cache, row: 0, layer, heads }, queries, progress);
      const all = view.held === alive.length;
      const own = all ? [] : placesAmong(view.places[0]!, alive);
      const ofAlive = (t: Tensor): Tensor => (all ? t : tf.gather(t, tf.tensor1d(own, "int32"), 1));
      const { config, length, kvHeads, step, steps } = view;
      const attending = { config, layer, length, kvHeads, queries: view.queries, step, steps };
      places = this.#policy.goOn(
        { ...attending, held: alive.length, keys: ofAlive(view.keys), positions: ofAlive(view.positions) },
        percentile,
      );
    });
    return places.map((place) => alive[place]!);
  }
}

/** Lets tokens read some positions alone. @param alive ascending */
function readerOf(alive: readonly number[]): AttentionReader {
  return {
    reaches: () => true,
    choose: ({ layer, cache, spansOf }: AttentionStep) => {
      const spans = cache.windows[layer]!.map((_, head) => inOrder(spansOf(0, head)));
      const held = positionsIn(spans[0]!);
      const before = alive.filter((position) => position <= held.at(-1)!);
      const stretches = stretchesOf(single(placesAmong(held, before)));
      return { spans: [spans.map((own) => cutSpans(own, stretches))] };
    },
  };
}

/** Places of some positions among those held. @param held ascending @param positions of these, ascending */
function placesAmong(held: readonly number[], positions: readonly number[]): number[] {
  let place = 0;
  return positions.map((position) => {
    while (held[place]! < position) place++;
    return place;
  });
}

/** Positions of spans, in their order. */
function positionsIn(spans: Int32Array): number[] {
  const positions: number[] = [];
  for (let i = 0; i < spans.length; i += 4)
    for (let row = 0; row < spans[i + 3]!; row++) positions.push(spans[i + 2]! + row);
  return positions;
}
