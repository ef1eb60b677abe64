/** Multiplies two 32-bit numbers: [high, low] words of the product. */
function multiply(a: number, b: number): [number, number] {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  const high = aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000);
  return [high >>> 0, Math.imul(a, b) >>> 0];
}

/**
 * Seeded random numbers by counter: Philox 4x32-10 (Salmon et al., 'Parallel random numbers: as easy as 1, 2, 3', 2011).
 * The same seed and stream give the same numbers on every backend and machine; streams are independent.
 */
export class Random {
  readonly #key: readonly [number, number];
  readonly #stream: number;
  #counter = 0;
  #block: number[] = [];
  #spare: number | undefined;

  /** @param seed whole number of at most 53 bits @param stream whole number, for independent sequences of one seed */
  constructor(seed: number, stream = 0) {
    this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
    this.#stream = stream >>> 0;
  }

  /** A uniform 32-bit whole number. */
  uint32(): number {
    if (this.#block.length === 0) {
      const low = this.#counter >>> 0;
      this.#block = philox([low, Math.floor(this.#counter / 2 ** 32) >>> 0, this.#stream, 0], this.#key);
      this.#counter++;
    }
    return this.#block.shift()!;
  }

  /** Uniform in [0, 1), with 53 bits. */
  uniform(): number {
    return ((this.uint32() >>> 5) * 2 ** 26 + (this.uint32() >>> 6)) / 2 ** 53;
  }

  /** A uniform whole number in [low, high). */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low));
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** A random order of 0 … n - 1. */
  permutation(n: number): number[] {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(0, i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }

  /** A random cyclic order of 0 … n - 1: a permutation without fixed points (Sattolo). @param n at least 2 */
  derangement(n: number): number[] {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(0, i);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}

function philox(counter: number[], [k0, k1]: readonly [number, number]): number[] {
  let [a, b, c, d] = counter as [number, number, number, number];
  let key0 = k0;
  let key1 = k1;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, a);
    const [high1, low1] = multiply(0xcd9e8d57, c);
    [a, b, c, d] = [(high1 ^ b ^ key0) >>> 0, low1, (high0 ^ d ^ key1) >>> 0, low0];
    key0 = (key0 + 0x9e3779b9) >>> 0;
    key1 = (key1 + 0xbb67ae85) >>> 0;
  }
  return [a, b, c, d];
}
