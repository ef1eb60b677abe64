const SCRATCH = 4096; // words that bulk draws turn into numbers at a time: a multiple of a block of 4

/**
 * Seeded random numbers by counter: Philox 4x32-10 (Salmon et al., 'Parallel random numbers: as easy as 1, 2, 3', 2011).
 * The same seed and stream give the same numbers on every backend and machine; streams are independent.
 * Bulk and single draws take words from one sequence: `fillNormal` gives what as many calls of `normal` would give.
 */
export class Random {
  readonly #key: readonly [number, number];
  readonly #stream: number;
  #counter = 0;
  readonly #block = new Uint32Array(4);
  #used = 4; // words of the block that were given out
  #spare: number | undefined;
  #scratch: Uint32Array | undefined;

  /** @param seed whole number of at most 53 bits @param stream whole number, for independent sequences of one seed */
  constructor(seed: number, stream = 0) {
    this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
    this.#stream = stream >>> 0;
  }

  /** A uniform 32-bit whole number. */
  uint32(): number {
    if (this.#used === 4) {
      this.#blocks(this.#block, 0, 1);
      this.#used = 0;
    }
    return this.#block[this.#used++]!;
  }

  /** Uniform in [0, 1), with 53 bits. */
  uniform(): number {
    return uniformOf(this.uint32(), this.uint32());
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

  /** Fills an array with what `uint32` would give. */
  fillUint32(out: Uint32Array): void {
    this.#words(out, out.length);
  }

  /** Fills an array with numbers uniform in [0, 1), of 24 bits: one word each, so that single precision holds them exactly. */
  fillUniform(out: Float32Array): void {
    const words = this.#scratchWords();
    for (let at = 0; at < out.length; at += SCRATCH) {
      const n = Math.min(SCRATCH, out.length - at);
      this.#words(words, n);
      for (let i = 0; i < n; i++) out[at + i] = (words[i]! >>> 8) / 2 ** 24;
    }
  }

  /** Fills an array with what `normal` would give, in single precision. */
  fillNormal(out: Float32Array): void {
    const words = this.#scratchWords();
    let at = 0;
    if (this.#spare !== undefined && out.length > 0) out[at++] = this.normal();
    while (out.length - at >= 2) {
      const pairs = Math.min(SCRATCH / 4, (out.length - at) >> 1);
      this.#words(words, 4 * pairs);
      for (let w = 0; w < 4 * pairs; w += 4) {
        const radius = Math.sqrt(-2 * Math.log(1 - uniformOf(words[w]!, words[w + 1]!)));
        const angle = 2 * Math.PI * uniformOf(words[w + 2]!, words[w + 3]!);
        out[at++] = radius * Math.cos(angle);
        out[at++] = radius * Math.sin(angle);
      }
    }
    if (at < out.length) out[at] = this.normal();
  }

  /** Fills an array with what `integer(low, high)` would give. */
  integers(out: Int32Array, low: number, high: number): void {
    const words = this.#scratchWords();
    const span = high - low;
    for (let at = 0; at < out.length; at += SCRATCH / 2) {
      const n = Math.min(SCRATCH / 2, out.length - at);
      this.#words(words, 2 * n);
      for (let i = 0; i < n; i++) out[at + i] = low + Math.floor(uniformOf(words[2 * i]!, words[2 * i + 1]!) * span);
    }
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

  #scratchWords(): Uint32Array {
    this.#scratch ??= new Uint32Array(SCRATCH);
    return this.#scratch;
  }

  /** The next n words of the sequence: what is left of the present block, whole blocks, the start of another. */
  #words(out: Uint32Array, n: number): void {
    let at = 0;
    while (at < n && this.#used < 4) out[at++] = this.uint32();
    const blocks = (n - at) >> 2;
    this.#blocks(out, at, blocks);
    at += 4 * blocks;
    while (at < n) out[at++] = this.uint32();
  }

  /** Writes the next blocks of four words by Philox 4x32-10. All state is in local variables: a bulk draw allocates nothing. */
  #blocks(out: Uint32Array, at: number, blocks: number): void {
    const [k0, k1] = this.#key;
    const stream = this.#stream;
    const counter = this.#counter;
    for (let block = 0; block < blocks; block++) {
      let a = (counter + block) | 0;
      let b = Math.floor((counter + block) / 2 ** 32) | 0;
      let c = stream | 0;
      let d = 0;
      let key0 = k0 | 0;
      let key1 = k1 | 0;
      for (let round = 0; round < 10; round++) {
        const high0 = multiplyHigh(a, 0xd251, 0x1f53);
        const high1 = multiplyHigh(c, 0xcd9e, 0x8d57);
        const low0 = Math.imul(a, 0xd2511f53);
        const low1 = Math.imul(c, 0xcd9e8d57);
        a = high1 ^ b ^ key0;
        b = low1;
        c = high0 ^ d ^ key1;
        d = low0;
        key0 = (key0 + 0x9e3779b9) | 0;
        key1 = (key1 + 0xbb67ae85) | 0;
      }
      const word = at + 4 * block;
      out[word] = a;
      out[word + 1] = b;
      out[word + 2] = c;
      out[word + 3] = d;
    }
    this.#counter += blocks;
  }
}

function uniformOf(high: number, low: number): number {
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}

/** The high word of a 32-bit number times the constant (high << 16) + low, in 16-bit parts so that nothing leaves 32 bits. */
function multiplyHigh(a: number, high: number, low: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const middle = (Math.imul(aHigh, low) + (Math.imul(aLow, low) >>> 16)) | 0;
  const carry = (Math.imul(aLow, high) + (middle & 0xffff)) | 0;
  return (Math.imul(aHigh, high) + (middle >>> 16) + (carry >>> 16)) | 0;
}

/** Token ids that random rows are made of. */
export interface TokenPool {
  /** Ids are below it. */
  readonly vocabulary: number;
  /** Begins every row, and is drawn nowhere: BOS. */
  readonly first: number;
  /** Ends sequences, and is drawn nowhere either. */
  readonly last?: number | undefined;
}

/** Uniform random ids, without those that begin and end sequences. */
export function randomIds({ vocabulary, first, last }: TokenPool, count: number, random: Random): number[] {
  const apart = new Set([first, last]);
  return Array.from({ length: count }, () => {
    for (;;) {
      const id = random.integer(0, vocabulary);
      if (!apart.has(id) || vocabulary <= apart.size) return id;
    }
  });
}

/** Rows of the first token and random ids [rows][length]. */
export function randomRows(pool: TokenPool, rows: number, length: number, random: Random): number[][] {
  return Array.from({ length: rows }, () => [pool.first, ...randomIds(pool, length - 1, random)]);
}

/**
 * Rows BOS r r, in which a segment r stands twice [rows][1 + 2 r]: only induction can foretell the second copy.
 * @param first token before it @param segment draws the tokens of r, for each row anew
 */
export function repeatedRows(first: number, rows: number, segment: () => readonly number[]): number[][] {
  return Array.from({ length: rows }, () => {
    const half = segment();
    return [first, ...half, ...half];
  });
}
