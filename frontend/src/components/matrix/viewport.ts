/** The part of a matrix that is seen: cells are squares. */
export interface Viewport {
  /** Position at the left edge, in keys, and at the upper edge, in queries; 1.5 is the middle of the second. */
  readonly key: number;
  readonly query: number;
  /** Pixels a cell. */
  readonly cell: number;
}

/** A square of `size` pixels that shows a matrix of queries x keys. */
export interface MatrixFrame {
  readonly size: number;
  readonly queries: number;
  readonly keys: number;
}

export interface Cell {
  readonly query: number;
  readonly key: number;
}

/** Cells grow up to this many pixels, or to the size at which the whole matrix is seen. */
const LARGEST_CELL = 64;

/** The whole matrix. */
export function wholeViewport({ size, queries, keys }: MatrixFrame): Viewport {
  return { key: 0, query: 0, cell: size / Math.max(queries, keys, 1) };
}

/** Says whether the whole matrix is seen. */
export function isWhole(viewport: Viewport, frame: MatrixFrame): boolean {
  return viewport.cell <= wholeViewport(frame).cell * 1.0001;
}

/** A pixel of a frame, from its upper left corner. */
export interface Pixel {
  readonly x: number;
  readonly y: number;
}

/** Grows cells by a factor; the place under a pixel stays where it is. */
export function zoom(viewport: Viewport, factor: number, { x, y }: Pixel, frame: MatrixFrame): Viewport {
  const least = wholeViewport(frame).cell;
  const cell = Math.min(Math.max(viewport.cell * factor, least), Math.max(LARGEST_CELL, least));
  const key = viewport.key + x / viewport.cell - x / cell;
  const query = viewport.query + y / viewport.cell - y / cell;
  return inside({ key, query, cell }, frame);
}

/** Moves the matrix by pixels, as a drag does. */
export function pan({ key, query, cell }: Viewport, dx: number, dy: number, frame: MatrixFrame): Viewport {
  return inside({ key: key - dx / cell, query: query - dy / cell, cell }, frame);
}

/** Moves just so far that a cell is seen. */
export function reveal(viewport: Viewport, cell: Cell, frame: MatrixFrame): Viewport {
  const span = frame.size / viewport.cell;
  const near = (start: number, at: number): number => Math.min(Math.max(start, at + 1 - span), at);
  return inside({ ...viewport, key: near(viewport.key, cell.key), query: near(viewport.query, cell.query) }, frame);
}

/** The cell under the pixel (x, y); undefined beside the matrix. */
export function cellAt({ key, query, cell }: Viewport, x: number, y: number, frame: MatrixFrame): Cell | undefined {
  const found = { query: Math.floor(query + y / cell), key: Math.floor(key + x / cell) };
  const within = x >= 0 && y >= 0 && x < frame.size && y < frame.size;
  return within && found.query < frame.queries && found.key < frame.keys ? found : undefined;
}

/** Indices [first, end) along one axis that are at least in part seen. */
export function seen(start: number, cell: number, size: number, count: number): [number, number] {
  return [Math.max(0, Math.floor(start)), Math.min(count, Math.ceil(start + size / cell))];
}

function inside({ key, query, cell }: Viewport, { size, queries, keys }: MatrixFrame): Viewport {
  const bound = (start: number, count: number): number => Math.max(0, Math.min(start, count - size / cell));
  return { key: bound(key, keys), query: bound(query, queries), cell };
}
