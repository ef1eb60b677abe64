import { type ColourTable, keyOfBits } from "./colourTable.ts";
import type { Pyramid, PyramidLevel } from "./pyramid.ts";
import type { Viewport } from "./viewport.ts";

/** Colours of the cells that no query can see, as a canvas keeps them. */
export interface Masked {
  readonly ground: number;
  /** Of the diagonal lines which tell masked from merely low. */
  readonly line: number;
}

/** Values, the part of them that is seen, and their colours. */
export interface Painting {
  readonly pyramid: Pyramid;
  /** In the pixels that are painted. */
  readonly viewport: Viewport;
  readonly table: ColourTable;
  readonly masked: Masked;
}

/** Pixels from one diagonal line of the glyph to the next. */
const HATCH = 8;

/**
 * Colours every pixel by the cell under its centre: exact at any zoom, and the cost depends on the pixels alone, not on
 * the tokens. Where cells are smaller than pixels, a level of the pyramid is shown instead.
 * @param pixels [height, width] @returns the level that is shown
 */
export function paintCells(pixels: Uint32Array, width: number, painting: Painting): PyramidLevel {
  const { pyramid, viewport, table, masked } = painting;
  const level = pyramid.at(viewport.cell);
  const height = pixels.length / width;
  const columns = indices(width, viewport.key, viewport.cell, level);
  const rows = indices(height, viewport.query, viewport.cell, level);
  const seen = columns.findIndex((column) => column >= level.keys);
  const across = seen < 0 ? width : seen;
  const offset = level.keys - level.queries;

  let [before, open] = [-1, 0];
  for (let y = 0; y < height; y++) {
    const row = rows[y]!;
    const start = y * width;
    if (row >= level.queries) {
      pixels.fill(0, start);
      break;
    }
    if (row === before) pixels.copyWithin(start, start - width, start - width + open);
    else
      open = paintRow(pixels.subarray(start), columns.subarray(0, across), valuesOf(level, row, row + offset), table);
    before = row;
    for (let x = open; x < across; x++) pixels[start + x] = (x + y) % HATCH === 0 ? masked.line : masked.ground;
    pixels.fill(0, start + across, start + width);
  }
  return level;
}

/** Bits of a row's values up to a key. */
function valuesOf({ bits, keys }: PyramidLevel, row: number, lastKey: number): Uint32Array {
  return bits.subarray(row * keys, row * keys + lastKey + 1);
}

/** Paints the pixels of a row whose columns have a value. @returns how many from the left these are */
function paintRow(pixels: Uint32Array, columns: Int32Array, values: Uint32Array, table: ColourTable): number {
  let x = 0;
  for (; x < columns.length; x++) {
    const column = columns[x]!;
    if (column >= values.length) break;
    pixels[x] = table[keyOfBits(values[column]!)]!;
  }
  return x;
}

/** For each pixel along one axis, the cell of a level under its centre. */
function indices(pixels: number, start: number, cell: number, { factor }: PyramidLevel): Int32Array {
  return Int32Array.from({ length: pixels }, (_, i) => Math.floor((start + (i + 0.5) / cell) / factor));
}
