/** A map from pairs of numbers (both at least 0 and below 2^31) to a number: a hash table without objects, for millions of pairs. */
export class PairTable {
  #left: Int32Array;
  #right: Int32Array;
  #value: Int32Array;
  #size = 0;

  /** @param capacity number of pairs to make room for; it grows */
  constructor(capacity = 16) {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(16, capacity * 1.6)));
    this.#left = new Int32Array(slots).fill(-1);
    this.#right = new Int32Array(slots);
    this.#value = new Int32Array(slots);
  }

  /** Number of pairs. */
  get size(): number {
    return this.#size;
  }

  /** The number of a pair; -1 without one. */
  get(left: number, right: number): number {
    const slot = this.#slot(left, right);
    return this.#left[slot] === -1 ? -1 : this.#value[slot]!;
  }

  /** Gives a pair its number, in place of an earlier one. */
  set(left: number, right: number, value: number): void {
    let slot = this.#slot(left, right);
    if (this.#left[slot] === -1) {
      if (this.#size + 1 > this.#left.length * 0.7) {
        this.#grow();
        slot = this.#slot(left, right);
      }
      this.#size++;
    }
    this.#put(slot, left, right, value);
  }

  #put(slot: number, left: number, right: number, value: number): void {
    this.#left[slot] = left;
    this.#right[slot] = right;
    this.#value[slot] = value;
  }

  /** Finds the slot of a pair, or the empty one where it would be. */
  #slot(left: number, right: number): number {
    const mask = this.#left.length - 1;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const there = this.#left[slot]!;
      if (there === -1 || (there === left && this.#right[slot] === right)) return slot;
    }
  }

  #grow(): void {
    const [left, right, value] = [this.#left, this.#right, this.#value];
    const slots = left.length * 2;
    this.#left = new Int32Array(slots).fill(-1);
    this.#right = new Int32Array(slots);
    this.#value = new Int32Array(slots);
    this.#size = 0;
    for (let slot = 0; slot < left.length; slot++) {
      if (left[slot] === -1) continue;
      this.#put(this.#slot(left[slot]!, right[slot]!), left[slot]!, right[slot]!, value[slot]!);
      this.#size++;
    }
  }
}

/** Texts by their beginnings: a trie over UTF-16 units. */
export class Trie {
  readonly #edges: PairTable;
  /** Value of the text that ends at a node; -1 where none does. */
  readonly #values: number[] = [-1];

  /** @param texts with a value of at least 0 each; of two that are equal the last counts; empty ones are left out */
  constructor(texts: Iterable<readonly [string, number]>) {
    this.#edges = new PairTable();
    for (const [text, value] of texts) {
      let node = 0;
      for (let at = 0; at < text.length; at++) {
        const unit = text.charCodeAt(at);
        let next = this.#edges.get(node, unit);
        if (next < 0) {
          next = this.#values.push(-1) - 1;
          this.#edges.set(node, unit, next);
        }
        node = next;
      }
      if (node !== 0) this.#values[node] = value;
    }
  }

  /** Calls back with end and value of every text that begins at a place, shortest first. */
  from(text: string, start: number, visit: (end: number, value: number) => void): void {
    let node = 0;
    for (let at = start; at < text.length; at++) {
      node = this.#edges.get(node, text.charCodeAt(at));
      if (node < 0) return;
      const value = this.#values[node]!;
      if (value >= 0) visit(at + 1, value);
    }
  }

  /** The longest text that begins at a place; its value is -1 without one. */
  longest(text: string, start: number): { end: number; value: number } {
    let best = { end: start, value: -1 };
    this.from(text, start, (end, value) => {
      best = { end, value };
    });
    return best;
  }
}
