import type { Tensor } from "@tensorflow/tfjs";
import type { KvCache } from "../../../../models/cache/kv-cache.ts";
import type { PromptAttention } from "../../../../models/cache/prompt-attention.ts";
import type { ForwardResult } from "../../../../models/forward/types.ts";
import type { Model } from "../../../../models/model.ts";
import type { Window } from "../../../../models/transformer/attention.ts";
import { blockHook } from "../../../../models/transformer/hook-points.ts";
import { tf } from "../../../../runtime/tf.ts";
import { actsWithin, seesAll, type TokenChoice } from "../../choice.ts";
import { countsOf } from "../../counts.ts";
import type { LayerView, QueriesSeen } from "../../kinds/tokens.ts";
import { PromptLayerView } from "./prompt-view.ts";
import { rerotate } from "./rerotation.ts";
import { CacheView, type LayerPlace, queryHook } from "./view.ts";

/** The prompt that an eviction is about, and the heads that it leaves alone. */
export interface EvictionExtent {
  /** Of the prompt. */
  readonly tokens: number;
  /** Most new tokens behind it. */
  readonly steps: number;
  /** True where what it knows is to outlive the run, also if nothing is to go yet. */
  readonly goesOn?: boolean | undefined;
  /** By layer and KV head, windows of heads that stream, now or once the prompt is read. */
  readonly windows?: readonly (readonly (Window | undefined)[])[] | undefined;
}

/** A policy at work on the tokens of one sequence: it sees queries as they go through the model, and frees what is not to stay. */
export class Eviction {
  readonly #model: Model;
  readonly #choice: TokenChoice;
  readonly #extent: EvictionExtent;
  readonly #seen: QueriesSeen | undefined;
  /** Tokens kept by layer and KV head. */
  readonly #counts: readonly (readonly number[])[];
  /** The policy's knowledge of each layer. */
  readonly #states: (Tensor | undefined)[] = [];
  /** By layer and KV head, places in the prompt that go, where they were chosen before it attended. */
  readonly #foreseen: (readonly (readonly number[])[])[] = [];
  #step = 0;

  constructor(model: Model, choice: TokenChoice, extent: EvictionExtent) {
    const { policy, params } = choice;
    if (policy.whole && extent.windows?.flat().some((window) => window !== undefined)) throw seesAll(policy.name);
    this.#model = model;
    this.#choice = choice;
    this.#extent = extent;
    this.#seen = policy.queries?.(params);
    this.#counts = countsOf(choice, { ...extent, config: model.config });
  }

  /** An eviction of the same prompt with another budget of the same policy, which knows what this one knows by now. */
  fork(choice: TokenChoice, extent: EvictionExtent = this.#extent): Eviction {
    const forked = new Eviction(this.#model, choice, extent);
    for (const [layer, state] of this.#states.entries()) if (state) forked.#states[layer] = tf.keep(state.clone());
    return forked;
  }

  /** Tells whether it sees what a choice would see, whatever their budgets. */
  knows({ policy, params }: TokenChoice): boolean {
    const { policy: own, params: given } = this.#choice;
    return policy.name === own.name && JSON.stringify(withoutBudget(params)) === JSON.stringify(withoutBudget(given));
  }

  /** True where tokens also go behind the prompt. */
  get decodes(): boolean {
    return this.#choice.params.when === "decode";
  }

  /** True where it looks at the prompt as it is read. */
  get looks(): boolean {
    return this.#seen !== undefined && this.#evicts;
  }

  /** Tokens of the parts behind each of which something goes; undefined where that is so at the prompt's end alone. */
  get part(): number | undefined {
    const { policy, params } = this.#choice;
    return this.#evicts && !this.foresees && this.#within ? policy.part!(params) : undefined;
  }

  /** True where it chooses in each layer before the prompt attends there. */
  get foresees(): boolean {
    const { policy, params } = this.#choice;
    return this.#evicts && policy.inPrompt?.(params) === true;
  }

  /** Chooses in a layer of a prompt that is about to attend. Runs in a tidy. @returns by KV head, the places of keys that go */
  foresee(prompt: PromptAttention): readonly (readonly number[])[] {
    const { policy, params, prepared } = this.#choice;
    const view = new PromptLayerView(this.#model, prompt, { steps: this.#extent.steps, prepared });
    const gone = this.#leave(view, this.#counts[prompt.layer]!, policy.observe?.(view, undefined, params));
    this.#foreseen[prompt.layer] = gone;
    return gone;
  }

  /** Last tokens of the prompt that are read as a part of their own, since their queries are looked at. */
  get last(): number {
    const { of } = this.#seen ?? { of: 0 };
    return of === "all" || !this.#evicts ? 0 : Math.min(of, this.#extent.tokens);
  }

  /** Hook names of what the policy looks at in a part of the prompt, in that which ends it, or in a new token. */
  names(tokens: "part" | "end" | "new"): string[] {
    if (!this.#seen || (tokens === "part" && this.#seen.of !== "all") || !this.#evicts || this.foresees) return [];
    const attends = tokens === "new" && this.#seen.attends === true;
    return Array.from({ length: this.#model.config.n_layers }, (_, layer) =>
      attends ? blockHook(layer, "attn.hook_pattern") : this.#name(layer),
    );
  }

  /** Sees a part of the prompt in a cache of one row; after the last one, or each, frees what does not stay. */
  read(result: ForwardResult, cache: KvCache): void {
    const { tokens } = this.#extent;
    const ends = cache.seen[0] === tokens;
    if (!this.#evicts) return;
    for (let layer = 0; layer < this.#counts.length; layer++) {
      this.#see({ cache, row: 0, layer, heads: this.#heads(layer) }, result, ends || this.#within);
    }
    if (ends) this.#close(cache, 0);
    if (ends && !this.decodes) this.dispose();
  }

  /** Sees a new token in a row of a cache, and frees one for it. */
  go(result: ForwardResult, cache: KvCache, row: number): void {
    this.#step++;
    if (!this.decodes || !this.#evicts) return;
    for (let layer = 0; layer < this.#counts.length; layer++)
      this.#see({ cache, row, layer, heads: this.#heads(layer) }, result, true);
    this.#close(cache, row);
  }

  /** Frees what the policy knows. */
  dispose(): void {
    tf.dispose(this.#states.splice(0).filter((state) => state !== undefined));
  }

  /** True where anything is to go at all. */
  get #evicts(): boolean {
    const { tokens, steps, goesOn } = this.#extent;
    if (goesOn && this.decodes) return true;
    return this.#counts.flat().some((count) => count < tokens + (this.decodes ? steps : 0));
  }

  /** True where tokens go before the prompt's end. */
  get #within(): boolean {
    return actsWithin(this.#choice, this.#extent.tokens);
  }

  #name(layer: number): string {
    if (this.#seen?.stream) return blockHook(layer, "hook_resid_pre");
    return this.#seen?.unrotated ? blockHook(layer, "attn.hook_q") : queryHook(this.#model.config, layer);
  }

  /** KV heads of a layer that are no streaming heads. */
  #heads(layer: number): number[] {
    const windows = this.#extent.windows?.[layer];
    return [...Array(this.#model.config.n_key_value_heads).keys()].filter((head) => windows?.[head] === undefined);
  }

  /** Adds what new tokens show of a layer to what is known of it, and frees what does not stay there. */
  #see(place: LayerPlace, result: ForwardResult, cuts: boolean): void {
    const { layer, heads } = place;
    const observes = this.#seen?.of === "all" && !this.foresees;
    if (heads.length === 0 || !(observes || cuts)) return;
    const before = this.#states[layer];
    tf.tidy(() => {
      const view = this.#view(place, result);
      const state = observes
        ? this.#choice.policy.observe?.(view, before, this.#choice.params)
        : this.#ofKeys(view, before);
      const left = cuts ? this.#cut(place, view, state) : state;
      this.#states[layer] = left && left !== before ? tf.keep(left) : left;
    });
    if (before && before !== this.#states[layer]) before.dispose();
  }

  /** Numbers of all keys, of which those before are known. */
  #ofKeys(view: CacheView, before: Tensor | undefined): Tensor | undefined {
    const { policy, params } = this.#choice;
    const known = before?.shape[1] ?? 0;
    if (!policy.ofKeys || known === view.held) return before;
    const fresh = policy.ofKeys(view.keysFrom(known), params);
    return before && fresh ? tf.concat([before, fresh], 1) : fresh;
  }

  /** Frees what does not stay of a layer. @returns what is known of the tokens that are left, of the tidy's */
  #cut(place: LayerPlace, view: CacheView, state: Tensor | undefined): Tensor | undefined {
    const { cache, row, layer, heads } = place;
    const { policy, params } = this.#choice;
    const counts = heads.map((head) => this.#counts[layer]![head]!);
    if (counts.every((count) => view.held <= count)) return state;
    const gone = this.#foreseen[layer] ?? this.#leave(view, counts, state);
    const merged = policy.merge?.(view, gone.map((places) => others(places, view.held)), params); // biome-ignore format: one call
    heads.forEach((head, i) => {
      const positions = view.places[i]!;
      if (gone[i]!.length > 0)
        cache.drop(layer, row, head, gone[i]!.map((place) => positions[place]!)); // biome-ignore format: one call
    });
    if (merged) {
      const [keys, values] = [tf.unstack(merged.keys), tf.unstack(merged.values)];
      heads.forEach((head, i) => {
        const rows = { keys: keys[i]!, values: values[i]! };
        cache.write({ layer, row, head }, cache.positions(layer, row, head), rows);
      });
    }
    if (!state || !(this.decodes || this.#within)) return state;
    const stay = gone.flatMap((places) => others(places, view.held));
    return tf.gather(state, tf.tensor2d(Int32Array.from(stay), [heads.length, stay.length / heads.length], "int32"), 1, 1); // biome-ignore format: one call
  }

  /** The keys that a policy lets go: by KV head, places among the held. Runs in a tidy. @param counts that stay, by KV head */
  #leave(view: LayerView, counts: readonly number[], state: Tensor | undefined): number[][] {
    const { policy, params } = this.#choice;
    const scores = policy.score(view, params, state);
    const chosen = policy.choose?.(scores, counts[0]!, params);
    return chosen ? chosen.map((stay) => others(stay, view.held)) : worst(scores, counts);
  }

  /** Closes the gaps between positions, where that is asked for. */
  #close(cache: KvCache, row: number): void {
    if (this.#choice.params.rerotate) rerotate(this.#model, cache, row);
  }

  #view(place: LayerPlace, { activations }: ForwardResult): CacheView {
    const attends = this.#step > 0 && this.#seen?.attends === true;
    const pattern = attends ? activations.get(blockHook(place.layer, "attn.hook_pattern")) : undefined;
    const name = this.#name(place.layer);
    const last = this.#step > 0 || this.#seen?.of === "all" ? Number.POSITIVE_INFINITY : this.last;
    const queries = { activation: activations.get(name), plain: name.endsWith("hook_q"), last, pattern };
    return new CacheView(this.#model, place, queries, {
      prompt: this.#extent.tokens,
      step: this.#step,
      steps: this.#extent.steps,
      prepared: this.#choice.prepared,
    });
  }
}

/** By KV head, the places of all scores but the best; of equal ones the first stay. @param scores [KV heads, held] @param counts that stay, by KV head */
function worst(scores: Tensor, counts: readonly number[]): number[][] {
  const [, held] = scores.shape as [number, number];
  const most = held - Math.min(...counts, held);
  if (most === 1) return lowest(scores).map((place, i) => (counts[i]! < held ? [place] : []));
  // Of equal scores the sort puts the first before the others: from behind these are the last.
  const places = tf.topk(tf.neg(tf.reverse(scores, 1)), most).indices.arraySync() as number[][];
  return places.map((list, i) => list.slice(0, held - Math.min(counts[i]!, held)).map((place) => held - 1 - place));
}

/** By KV head, the place of the lowest score; of equal ones the last. @param scores [KV heads, held] */
function lowest(scores: Tensor): number[] {
  const [heads, held] = scores.shape as [number, number];
  const numbers = scores.dataSync() as Float32Array;
  return Array.from({ length: heads }, (_, head) => {
    let least = head * held;
    for (let i = least + 1; i < (head + 1) * held; i++) if (numbers[i]! <= numbers[least]!) least = i;
    return least - head * held;
  });
}

/** All places below a number but those given, ascending. */
function others(places: readonly number[], below: number): number[] {
  const given = new Uint8Array(below);
  for (const place of places) given[place] = 1;
  const rest: number[] = [];
  for (let place = 0; place < below; place++) if (given[place] === 0) rest.push(place);
  return rest;
}

function withoutBudget({ ratio: _, budget: __, ...others }: TokenChoice["params"]): Record<string, unknown> {
  return others;
}
