import type { CacheKind } from "../common/words.ts";
import { maskMeaning } from "../hooks/mask-meaning.ts";
import { cutOnce } from "../inference/forwards.ts";
import { actsWithin, type PolicyChoice, type TokenChoice } from "../inference/policies/choice.ts";
import { kept as keptOf } from "../inference/policies/kinds/parameters.ts";
import { Eviction } from "../inference/policies/work/tokens/eviction.ts";
import { Prefix } from "../inference/prefix.ts";
import { PART } from "../inference/run/options.ts";
import { KvCache } from "../models/cache/kv-cache.ts";
import { forward } from "../models/forward/forward.ts";
import type { ForwardResult } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { loopTurn, type Turn } from "../runtime/turn.ts";

/** Tokens that are read last, as a part of their own, whoever looks: the same policy then meets the same numbers in every company. */
const TAIL = 64;
/** Interventions that a shared prompt is read under, as JSON: none. */
const NO_CHANGES = "[]";

/**
 * Tells whether a choice acts on a prompt that was read with everything in sight: then one read serves it and others.
 * @param model whose heads a mask is for @param length tokens of the prompt, at most
 */
export function sharesRead(
  model: Model,
  { heads, blocks, inputs, tokens, reads, form }: PolicyChoice,
  length: number,
): boolean {
  if (tokens && actsWithin(tokens, length)) return false;
  if (heads?.slides || blocks || inputs || form || tokens?.params.when === "decode" || reads?.policy.inPrompt)
    return false;
  return !heads || (heads.prefill === "dense" && maskMeaning(model, heads.mask).ablated.length === 0);
}

/** Options of a shared read. */
export interface SharedReadOptions {
  readonly tokens: readonly number[];
  /** Choices that are to be cut from it. */
  readonly choices: readonly PolicyChoice[];
  /** Choices of the whole evaluation, by which the prompt is parted. */
  readonly all: readonly PolicyChoice[];
  readonly cache: CacheKind;
  /** Most new tokens behind it. */
  readonly steps: number;
  readonly signal?: AbortSignal | undefined;
  readonly turn?: Turn | undefined;
}

/** A choice at the end of the prompt. */
export interface CutOptions {
  /** Tokens of the prompt's beginning that are kept, default all of them. */
  readonly upTo?: number | undefined;
}

/**
 * A prompt that was read once, with everything in sight, for several policies that act at its end. What they look at is looked at
 * together; each is then cut from a fork of the cache.
 */
export class SharedRead {
  /** Milliseconds that the read took, without what policies added up on the way. */
  readonly ms: number;
  readonly #model: Model;
  readonly #tokens: readonly number[];
  readonly #steps: number;
  /** Everything that was read. */
  readonly #cache: KvCache;
  /** The last part's, with the queries of its tokens. */
  readonly #last: ForwardResult;
  readonly #logits: Float32Array;
  readonly #watchers: readonly Watcher[];

  private constructor(parts: {
    model: Model;
    options: SharedReadOptions;
    cache: KvCache;
    last: ForwardResult;
    watchers: readonly Watcher[];
    ms: number;
  }) {
    const { model, options, cache, last, watchers, ms } = parts;
    this.#model = model;
    this.#tokens = options.tokens;
    this.#steps = options.steps;
    this.#cache = cache;
    this.#last = last;
    this.#logits = last.logits!.dataSync().slice() as Float32Array;
    this.#watchers = watchers;
    this.ms = ms;
  }

  /** Reads a prompt. */
  static async read(model: Model, options: SharedReadOptions): Promise<SharedRead> {
    const { tokens, choices, all, cache: kind, steps, signal, turn = loopTurn(signal) } = options;
    const cache = new KvCache(model.config, { kind });
    const watchers: Watcher[] = [];
    const kept = ({ tokens: choice }: PolicyChoice): number => (choice ? keptOf(choice.params, tokens.length) : 0);
    // Of one policy the smallest budget watches: a large one may let nothing go, and then looks at nothing.
    for (const choice of choices.toSorted((a, b) => kept(a) - kept(b))) {
      if (!choice.tokens || watchers.some((watcher) => watcher.knows(choice))) continue;
      watchers.push(new Watcher(model, choice, { tokens: tokens.length, steps }));
    }
    let last: ForwardResult | undefined;
    let ms = 0;
    try {
      for (const end of partEnds(tokens.length, all)) {
        const ends = end === tokens.length;
        const names = new Set(watchers.flatMap((watcher) => watcher.eviction.names(ends ? "end" : "part")));
        const input = {
          tokens: [tokens.slice(cache.lengths[0]!, end)],
          cache,
          logitsAt: ends ? "last" : "none",
        } as const;
        const began = performance.now();
        const result = forward(model, input, {
          ...(names.size > 0 ? { names: (name: string) => names.has(name) } : {}),
          onLayer: () => signal?.throwIfAborted(),
        });
        await result.resid.data();
        ms += performance.now() - began;
        if (ends) last = result;
        else {
          for (const watcher of watchers) watcher.look(result, cache);
          result.dispose();
        }
        await turn();
      }
      return new SharedRead({ model, options, cache, last: last!, watchers, ms });
    } catch (error) {
      last?.dispose();
      cache.dispose();
      for (const watcher of watchers) watcher.eviction.dispose();
      throw error;
    }
  }

  /**
   * The prompt as a choice of policies leaves it.
   * @returns a prefix of the caller's, and the milliseconds that the policy took
   */
  cut(choice: PolicyChoice, { upTo }: CutOptions = {}): { prefix: Prefix; ms: number } {
    const began = performance.now();
    let cache = this.#cache.fork();
    let watched = 0;
    try {
      if (choice.tokens) {
        const watcher = this.#watchers.find((each) => each.knows(choice))!;
        const eviction = watcher.eviction.fork(choice.tokens);
        try {
          eviction.read(this.#last, cache);
        } finally {
          eviction.dispose();
        }
        watched = watcher.ms;
      }
      if (upTo !== undefined) cache.truncate(Math.min(upTo, this.#tokens.length));
      const windows = windowsOf(this.#model, choice);
      if (windows && choice.heads!.once) cutOnce(cache, windows);
      else if (windows) {
        const cut = cache.streaming(windows);
        cache.dispose();
        cache = cut;
      }
    } catch (error) {
      cache.dispose();
      throw error;
    }
    const tokens = this.#tokens.slice(0, upTo);
    const prefix = new Prefix(this.#model, { tokens, cache, logits: this.#logits, changes: NO_CHANGES });
    return { prefix, ms: performance.now() - began + watched };
  }

  /** Frees everything; prefixes that were cut from it keep theirs. */
  dispose(): void {
    this.#last.dispose();
    this.#cache.dispose();
    for (const { eviction } of this.#watchers) eviction.dispose();
  }
}

/** A policy that looks at a prompt as it is read, for all budgets alike. */
class Watcher {
  readonly eviction: Eviction;
  /** Milliseconds that it took so far. */
  ms = 0;
  readonly #key: string;

  constructor(model: Model, choice: PolicyChoice, extent: { tokens: number; steps: number }) {
    this.#key = keyOf(choice);
    this.eviction = new Eviction(model, choice.tokens!, { ...extent, windows: windowsOf(model, choice) });
  }

  knows(choice: PolicyChoice): boolean {
    return choice.tokens !== undefined && keyOf(choice) === this.#key;
  }

  look(result: ForwardResult, cache: KvCache): void {
    const began = performance.now();
    this.eviction.read(result, cache);
    this.ms += performance.now() - began;
  }
}

/** A text that choices have in common which see the same, whatever their budgets. */
function keyOf({ heads, tokens }: PolicyChoice): string {
  const { ratio: _, budget: __, ...others } = tokens!.params;
  return JSON.stringify([heads ?? null, tokens!.policy.name, others]);
}

/** By layer and KV head, what streaming heads keep; undefined where there are none. */
function windowsOf(model: Model, { heads }: PolicyChoice) {
  const meaning = heads && maskMeaning(model, heads.mask);
  return meaning?.streaming.length ? meaning.windows : undefined;
}

/** Ends of the parts in which a prompt is read. */
function partEnds(tokens: number, choices: readonly PolicyChoice[]): number[] {
  const last = Math.min(tokens, Math.max(TAIL, ...choices.map(({ tokens }) => (tokens ? windowOf(tokens) : 0))));
  const ends = [];
  for (let end = PART; end < tokens - last; end += PART) ends.push(end);
  return tokens > last ? [...ends, tokens - last, tokens] : [tokens];
}

/** Last tokens whose queries a policy looks at. */
function windowOf({ policy, params }: TokenChoice): number {
  const { of = 0 } = policy.queries?.(params) ?? {};
  return of === "all" ? 0 : of;
}
