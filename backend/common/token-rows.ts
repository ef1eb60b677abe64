import type { Random } from "./random.ts";

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
