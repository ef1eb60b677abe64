import type { KvCache } from "../models/cache/kv-cache.ts";
import type { Forwards } from "./forwards.ts";
import type { Sequence } from "./run/options.ts";

/** A prompt that was read. */
export interface ReadPrompt {
  /** A cache of one row that holds it. */
  readonly cache: KvCache;
  /** Of its first new token [d_vocab]. */
  readonly logits: Float32Array;
  /** When that was, by `performance.now()`. */
  readonly at: number;
}

/** Tokens from which on a beginning that prompts share is worth a forward of its own. */
const SHARED = 16;

/**
 * Reads prompts, each into a cache of its own; what several begin with is read once.
 * @param logits of what follows the prefix, where there is one
 * @returns in the order of the sequences, caches of the caller's
 */
export async function readPrompts(
  forwards: Forwards,
  sequences: readonly Sequence[],
  logits?: Float32Array,
): Promise<ReadPrompt[]> {
  const reading = new Reading(forwards);
  try {
    await reading.branch(forwards.begin(), sequences, logits);
    return sequences.map((sequence) => reading.done.get(sequence)!);
  } catch (error) {
    reading.dispose();
    throw error;
  }
}

/** Prompts on their way into caches, as a tree: what they share, then what some of them share, then each its own. */
class Reading {
  readonly done = new Map<Sequence, ReadPrompt>();
  readonly #forwards: Forwards;
  readonly #open = new Set<KvCache>();

  constructor(forwards: Forwards) {
    this.#forwards = forwards;
  }

  /**
   * Reads on behind a cache that holds the beginning of some prompts, and takes it over.
   * @param logits of what follows that, where it is the whole of one of them
   */
  async branch(cache: KvCache, among: readonly Sequence[], logits?: Float32Array): Promise<void> {
    this.#open.add(cache);
    const [first] = among as [Sequence];
    const held = cache.seen[0]!;
    const apart = this.#forwards.readsApart && among.length > 1;
    const shared = apart ? held : sharedLength(among);
    const ends = among.some(({ prompt }) => prompt.length === shared);
    const reads = shared > held && (ends || shared - held >= SHARED);
    const next = reads ? await this.#read(cache, { ...first, prompt: first.prompt.slice(0, shared) }) : logits;
    const groups = apart ? among.map((sequence) => [sequence]) : groupsBy(among, ({ prompt }) => prompt[shared]);
    for (const group of groups) {
      if (group[0]!.prompt.length > shared) await this.branch(cache.fork(), group, next);
      else for (const sequence of group) this.#arrive(sequence, cache.fork(), next!);
    }
    this.#open.delete(cache);
    cache.dispose();
  }

  /** Frees everything. */
  dispose(): void {
    for (const cache of this.#open) cache.dispose();
  }

  async #read(cache: KvCache, sequence: Sequence): Promise<Float32Array> {
    if (this.done.size > 0) await this.#forwards.turn();
    return this.#forwards.finish(sequence, cache);
  }

  #arrive(sequence: Sequence, cache: KvCache, logits: Float32Array): void {
    this.#open.add(cache);
    this.done.set(sequence, { cache, logits, at: performance.now() });
  }
}

/** Tokens that all prompts begin with. */
function sharedLength([first, ...others]: readonly Sequence[]): number {
  const { prompt } = first!;
  const differs = prompt.findIndex((id, i) => others.some((other) => other.prompt[i] !== id));
  return differs < 0 ? prompt.length : differs;
}

function groupsBy<T>(all: readonly T[], key: (one: T) => unknown): T[][] {
  const groups = new Map<unknown, T[]>();
  for (const one of all) groups.set(key(one), [...(groups.get(key(one)) ?? []), one]);
  return [...groups.values()];
}
