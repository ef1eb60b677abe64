import { mean } from "../../backend/common/numerics/averages.ts";
import { drawIndex, runningSums } from "../../backend/common/numerics/running-sums.ts";
import { Random } from "../../backend/common/random.ts";

/** Shape of a chain. */
export interface ChainShape {
  /** Words; the first `triggers` of them, which are the most frequent, copy. */
  readonly words: number;
  readonly triggers: number;
  /** Exponent of the words' frequencies. */
  readonly zipf: number;
  /** Standard deviation of the logarithm by which a pair's probability differs from the product of frequencies. */
  readonly contrast: number;
}

/** A place in a chain: its word, and the word before it, which counts behind triggers alone. */
export interface Place {
  readonly word: number;
  readonly before: number;
}

/**
 * A chain of words 0 … words - 1. Behind an ordinary word stands one drawn from a fixed row of a random table, in which frequent words
 * are likely; behind a trigger stands the word that came before the trigger, so that the context has to be looked at.
 * @see Guo et al. 2024, Active-Dormant Attention Heads (bigram-backcopy)
 */
export class BigramChain {
  readonly shape: ChainShape;
  /** Probabilities of the next word, of ordinary words [words][words]; triggers have empty rows. */
  readonly rows: readonly Float64Array[];
  /** Running sums of the same. */
  readonly #sums: readonly Float64Array[];
  /** Frequencies of ordinary words among all places [words], 0 for triggers. */
  readonly #ordinary: Float64Array;
  /** Running sums over places in steady state: ordinary words, then pairs of an ordinary word and a trigger. */
  readonly #places: Float64Array;

  constructor(shape: ChainShape, seed: number) {
    const { words, triggers, zipf, contrast } = shape;
    const random = new Random(seed, 0);
    this.shape = shape;
    this.rows = Array.from({ length: words }, (_, a) => {
      const weights = Float64Array.from({ length: a < triggers ? 0 : words }, (_, b) => {
        return (b + 1) ** -zipf * Math.exp(contrast * random.normal());
      });
      return normalised(weights);
    });
    this.#sums = this.rows.map(runningSums);
    this.#ordinary = this.#frequencies();
    this.#places = runningSums(
      Float64Array.from({ length: words * (1 + triggers) }, (_, i) => this.#frequency(this.#placeOf(i))),
    );
  }

  /** A place as a sequence that begins anywhere finds it. */
  start(random: Random): Place {
    return this.#placeOf(drawIndex(this.#places, random));
  }

  /** The place behind one. */
  next({ word, before }: Place, random: Random): Place {
    return { word: this.isTrigger(word) ? before : drawIndex(this.#sums[word]!, random), before: word };
  }

  isTrigger(word: number): boolean {
    return word < this.shape.triggers;
  }

  /** Probabilities of the word behind a trigger whose own predecessor is not known [words]. */
  behindUnknown(trigger: number): Float64Array {
    return normalised(this.#ordinary.map((_, word) => this.#frequency({ word: trigger, before: word })));
  }

  /** Entropy of the next word, in nats a place, where all before it is known. */
  get entropyRate(): number {
    return this.#ordinary.reduce((sum, share, word) => sum + share * entropy(this.rows[word]!), 0);
  }

  /** Mean of the next word's entropy over the places of a sequence that begins anywhere, of which nothing is known before it. */
  entropyWithin(places: number): number {
    const { triggers } = this.shape;
    const first = Array.from({ length: triggers }, (_, trigger) => {
      const share = this.#ordinary.reduce((sum, _, word) => sum + this.#frequency({ word: trigger, before: word }), 0);
      return share * entropy(this.behindUnknown(trigger));
    });
    return this.entropyRate + first.reduce((a, b) => a + b, 0) / places;
  }

  #placeOf(i: number): Place {
    const { words } = this.shape;
    const before = i % words;
    return i < words ? { word: before, before: 0 } : { word: Math.floor(i / words) - 1, before };
  }

  /** Share of a place: of an ordinary word with whatever stands before it, or of a trigger behind one word. */
  #frequency({ word, before }: Place): number {
    if (!this.isTrigger(word)) return this.#ordinary[word]!;
    return this.isTrigger(before) ? 0 : this.#ordinary[before]! * this.rows[before]![word]!;
  }

  /**
   * From an ordinary word the chain goes to another, or over a trigger back to itself; the steady state of that, in which a visit by
   * way of a trigger takes two places.
   */
  #frequencies(): Float64Array {
    const { words, triggers } = this.shape;
    let shares: Float64Array = Float64Array.from({ length: words }, (_, word) => (word < triggers ? 0 : 1));
    const copied = this.rows.map((row) => row.subarray(0, triggers).reduce((a, b) => a + b, 0));
    for (let change = 1; change > 1e-13; ) {
      const after = shares.map((share, word) => share * copied[word]!);
      for (let a = triggers; a < words; a++)
        for (let b = triggers; b < words; b++) after[b]! += shares[a]! * this.rows[a]![b]!;
      const next = normalised(after);
      change = Math.max(...next.map((share, word) => Math.abs(share - shares[word]!)));
      shares = next;
    }
    const total = shares.reduce((sum, share, word) => sum + share * (1 + copied[word]!), 0);
    return shares.map((share) => share / total);
  }
}

/** Entropy of a distribution in nats. */
function entropy(probabilities: Float64Array): number {
  return -probabilities.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
}

function normalised(weights: Float64Array): Float64Array {
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / sum);
}

/** Mean of `entropyWithin` over chains: the least loss that runs of several seeds can reach. */
export function meanEntropy(chains: readonly BigramChain[], places: number): number {
  return mean(chains.map((chain) => chain.entropyWithin(places)));
}
