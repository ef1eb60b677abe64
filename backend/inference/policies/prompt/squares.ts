import type { Tensor } from "@tensorflow/tfjs";
import { z } from "zod";
import { tf } from "../../../runtime/tf.ts";
import { inUnit } from "../kinds/units.ts";

/** Queries of a prompt, cut into squares. */
export interface SquareGrid {
  /** Tokens before those of the queries. */
  readonly start: number;
  /** Tokens of the queries. */
  readonly tokens: number;
  /** Queries and positions on the side of a square. */
  readonly side: number;
}

/** The part of a call's squares that belongs to a chunk of the queries: [heads, down, across], 1 where one is read. */
export interface SquarePart {
  readonly read: Uint8Array;
  readonly shape: [heads: number, down: number, across: number];
}

/**
 * The squares of a prompt's attention that are read, by query head: row r has `side` queries from the r-th such stretch on, column c
 * the positions from c · side on. Squares with positions of a row's own queries are always read; those of later positions never.
 */
export class Squares implements SquareGrid {
  readonly start: number;
  readonly tokens: number;
  readonly side: number;
  /** Heads, or 1 for all alike. */
  readonly heads: number;
  /** Rows of squares. */
  readonly down: number;
  /** Columns of squares. */
  readonly across: number;
  readonly #read: Uint8Array;

  /** Reads each query's own square, and nothing else yet. */
  constructor({ start, tokens, side }: SquareGrid, heads: number) {
    this.start = start;
    this.tokens = tokens;
    this.side = side;
    this.heads = heads;
    this.down = Math.ceil(tokens / side);
    this.across = Math.ceil((start + tokens) / side);
    this.#read = new Uint8Array(heads * this.down * this.across);
    for (let head = 0; head < heads; head++)
      for (let row = 0; row < this.down; row++) this.#addFrom(head, row, this.firstOwn(row));
  }

  /** Position of a row's first query. */
  first(row: number): number {
    return this.start + row * this.side;
  }

  /** Position of a row's last query. */
  last(row: number): number {
    return this.start + Math.min((row + 1) * this.side, this.tokens) - 1;
  }

  /** First column with positions of a row's own queries. */
  firstOwn(row: number): number {
    return Math.floor(this.first(row) / this.side);
  }

  /** Last column that a row reads: that of its last query. */
  lastOwn(row: number): number {
    return Math.floor(this.last(row) / this.side);
  }

  /** Adds a square; one of later positions is left out. */
  add(head: number, row: number, column: number): void {
    if (column <= this.lastOwn(row)) this.#read[(head * this.down + row) * this.across + column] = 1;
  }

  /** Adds the squares of a head that a rule says. */
  fill(head: number, rule: (row: number, column: number) => boolean): void {
    for (let row = 0; row < this.down; row++)
      for (let column = 0; column <= this.lastOwn(row); column++) if (rule(row, column)) this.add(head, row, column);
  }

  /** Adds all squares of the rows with any of the last tokens, in all heads. */
  addLast(tokens: number): void {
    const first = this.start + this.tokens - tokens;
    for (let row = this.down - 1; row >= 0 && this.last(row) >= first; row--)
      for (let head = 0; head < this.heads; head++) this.#addFrom(head, row, 0);
  }

  /** Adds the squares of a row from a column up to its own. */
  #addFrom(head: number, row: number, column: number): void {
    const from = (head * this.down + row) * this.across;
    this.#read.fill(1, from + column, from + this.lastOwn(row) + 1);
  }

  has(head: number, row: number, column: number): boolean {
    return this.#read[((this.heads === 1 ? 0 : head) * this.down + row) * this.across + column] === 1;
  }

  /** Columns that a row of a head reads, ascending. */
  columns(head: number, row: number): number[] {
    return Array.from({ length: this.across }, (_, column) => column).filter((column) => this.has(head, row, column));
  }

  /** Squares read, of those that causal attention has: mean over the heads. */
  get share(): number {
    let causal = 0;
    for (let row = 0; row < this.down; row++) causal += this.lastOwn(row) + 1;
    let read = 0;
    for (const square of this.#read) read += square;
    return read / (this.heads * causal);
  }

  /** Numbers that it adds to the scores of full attention, -1e30 where nothing is read [heads or 1, tokens, start + tokens]. */
  bias(): Tensor {
    const end = this.start + this.tokens;
    return tf.tidy(() => {
      const read = tf.tensor(this.#read, [this.heads, this.down, 1, this.across, 1], "float32");
      const wide = tf.tile(read, [1, 1, this.side, 1, this.side]);
      const flat = tf.reshape(wide, [this.heads, this.down * this.side, this.across * this.side]);
      return tf.mul(tf.sub(1, tf.slice(flat, [0, 0, 0], [this.heads, this.tokens, end])), -1e30);
    });
  }

  /** The part for a chunk. @param first token of it, a multiple of the side @param tokens of it, padding included */
  part(first: number, tokens: number): SquarePart {
    const [top, down] = [first / this.side, Math.ceil(tokens / this.side)];
    const across = Math.ceil((this.start + first + tokens) / this.side);
    const read = new Uint8Array(this.heads * down * across);
    for (let head = 0; head < this.heads; head++)
      for (let row = 0; row < Math.min(down, this.down - top); row++) {
        const from = (head * this.down + top + row) * this.across;
        const own = this.#read.subarray(from, from + Math.min(across, this.across));
        read.set(own, (head * down + row) * across);
      }
    return { read, shape: [this.heads, down, across] };
  }
}

/** The squares with any of the first `sinks` positions, or of the last `local` up to one of their queries. */
export function inShape(squares: Squares, { sinks, local }: { sinks: number; local: number }) {
  return (row: number, column: number): boolean =>
    column * squares.side < sinks || squares.first(row) - ((column + 1) * squares.side - 1) < local;
}

/** The parameter of policies whose own choice may miss what few last queries look for. */
export const questionParameter = {
  question: inUnit(
    "tokens",
    z.int().min(0).default(64).describe("last tokens of the prompt, such as its question, which read everything"),
  ),
};
