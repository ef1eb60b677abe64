/** Token rows that a seed makes again, for references and for measurements on random tokens. */
export interface RowsOptions {
  readonly rows: number;
  /** Tokens of a row, or of the segment that is repeated, without BOS. */
  readonly length: number;
  /** Token ids are below it. */
  readonly vocabulary: number;
  /** Comes first in every row, and nowhere else; undefined for none. */
  readonly bos: number | undefined;
  readonly seed: number;
}

/** Rows of uniform random tokens [rows][positions]. */
export function randomRows({ rows, length, vocabulary, bos, seed }: RowsOptions): number[][] {
  const next = uniform32(seed);
  const token = (): number => {
    const id = next() % vocabulary;
    return id === bos ? token() : id;
  };
  const start = bos === undefined ? [] : [bos];
  return Array.from({ length: rows }, () => [...start, ...Array.from({ length }, token)]);
}

/** Rows in which a random segment stands twice, after BOS: only induction can foretell the second copy. */
export function repeatedRows(options: RowsOptions): number[][] {
  const start = options.bos === undefined ? [] : [options.bos];
  return randomRows({ ...options, bos: options.bos }).map((row) => {
    const segment = row.slice(start.length);
    return [...start, ...segment, ...segment];
  });
}

/**
 * The part of a row's losses that belongs to the second copy and can be foretold: from its second token on.
 * @param length of the segment @returns [start, end) among the losses, which begin at the row's second token
 */
export function secondCopy(length: number, hasBos: boolean): readonly [number, number] {
  const first = (hasBos ? 1 : 0) + length;
  return [first, first + length - 1];
}

/** Mean over rows of the losses in a range. @param nll [rows][positions - 1] */
export function meanWithin(nll: readonly (readonly number[])[], [start, end]: readonly [number, number]): number {
  const values = nll.flatMap((row) => row.slice(start, end));
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Mean over rows at each place. @param nll rows of one length */
export function meanByPosition(nll: readonly (readonly number[])[]): number[] {
  return (nll[0] ?? []).map((_, t) => nll.reduce((sum, row) => sum + row[t]!, 0) / nll.length);
}

/** Uniform 32-bit whole numbers, the same ones for a seed: a Weyl sequence through a finaliser that mixes its bits. */
function uniform32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let bits = state ^ (state >>> 16);
    bits = Math.imul(bits, 0x21f0aaad);
    bits ^= bits >>> 15;
    bits = Math.imul(bits, 0x735a2d97);
    return (bits ^ (bits >>> 15)) >>> 0;
  };
}
