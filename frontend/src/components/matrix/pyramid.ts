/** A pattern in which each cell stands for `factor` x `factor` cells of the whole one. */
export interface PyramidLevel {
  readonly factor: number;
  readonly queries: number;
  readonly keys: number;
  /** [queries, keys]: bits of the f32 values. */
  readonly bits: Uint32Array;
}

/**
 * A pattern at falling resolutions, each cell the largest value of the 2 x 2 below it: a single strong weight among a
 * thousand tokens stays visible when the whole matrix is on the screen. Levels are made when first asked for.
 */
export class Pyramid {
  readonly #levels: PyramidLevel[];

  /** @param pattern [queries, keys], not negative */
  constructor(pattern: Float32Array, queries: number, keys: number) {
    if (pattern.length !== queries * keys)
      throw new RangeError(`${pattern.length} values are not ${queries} x ${keys}`);
    const bits = new Uint32Array(pattern.buffer, pattern.byteOffset, pattern.length);
    this.#levels = [{ factor: 1, queries, keys, bits }];
  }

  /** The finest level whose cells are a pixel or larger. @param cell size of a cell of the whole pattern in pixels */
  at(cell: number): PyramidLevel {
    let index = 0;
    while (cell * 2 ** index < 1 && (this.#level(index).queries > 1 || this.#level(index).keys > 1)) index++;
    return this.#level(index);
  }

  #level(index: number): PyramidLevel {
    while (this.#levels.length <= index) this.#levels.push(halved(this.#levels.at(-1)!));
    return this.#levels[index]!;
  }
}

/** The largest of each 2 x 2: of values that are not negative, the larger has the larger bits, and NaN the largest. */
function halved({ factor, queries, keys, bits }: PyramidLevel): PyramidLevel {
  const [rows, columns] = [Math.ceil(queries / 2), Math.ceil(keys / 2)];
  const half = new Uint32Array(rows * columns);
  for (let query = 0; query < queries; query++) {
    const from = query * keys;
    const to = (query >> 1) * columns;
    for (let key = 0; key < keys; key++) {
      const value = bits[from + key]!;
      const at = to + (key >> 1);
      if (value > half[at]!) half[at] = value;
    }
  }
  return { factor: factor * 2, queries: rows, keys: columns, bits: half };
}
