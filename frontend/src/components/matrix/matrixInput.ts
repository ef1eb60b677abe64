import {
  type Cell,
  cellAt,
  isWhole,
  type MatrixFrame,
  type Pixel,
  pan,
  reveal,
  type Viewport,
  wholeViewport,
  zoom,
} from "./viewport.ts";

/** The part of a matrix that is shown, and its marks; each input gives the next one. */
export interface MatrixState {
  readonly viewport: Viewport;
  /** The cell under the pointer or the keyboard's cursor. */
  readonly cell: Cell | undefined;
  readonly locked: Cell | undefined;
}

const ZOOM_STEP = 1.3;
const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/**
 * Takes a key: arrows read the next cell (with Shift they move the view), + and - zoom at it, 0 shows everything, Enter
 * keeps the cell, Escape lets it go. @returns undefined for keys that mean nothing here
 */
export function onKey(
  state: MatrixState,
  { key, shiftKey }: { readonly key: string; readonly shiftKey: boolean },
  frame: MatrixFrame,
): MatrixState | undefined {
  const { viewport, cell, locked } = state;
  const arrow = ARROWS[key];
  if (arrow && shiftKey) {
    const step = Math.max(viewport.cell, frame.size / 8);
    return { ...state, viewport: pan(viewport, -arrow[0] * step, -arrow[1] * step, frame) };
  }
  if (arrow) {
    const from = cell ?? locked ?? centre(viewport, frame);
    const next = cell || locked ? moved(from, arrow, frame) : from;
    return { ...state, cell: next, viewport: reveal(viewport, next, frame) };
  }
  if (key === "+" || key === "=") return { ...state, viewport: zoomAtCell(state, ZOOM_STEP, frame) };
  if (key === "-") return { ...state, viewport: zoomAtCell(state, 1 / ZOOM_STEP, frame) };
  if (key === "0") return { ...state, viewport: wholeViewport(frame) };
  if (key === "Enter" && cell) return { ...state, locked: sameCell(cell, locked) ? undefined : cell };
  if (key === "Escape" && (cell || locked)) return { ...state, cell: undefined, locked: undefined };
  return undefined;
}

/** Pixels that a wheel event stands for; browsers count some in lines. */
export function pixels({ deltaY, deltaMode }: WheelEvent): number {
  return deltaMode === 1 ? deltaY * 16 : deltaY;
}

/**
 * Zooms at the pointer. @param delta of the wheel in pixels; below zero is nearer
 * @returns undefined where everything is seen already, so that the page may scroll
 */
export function onWheel(viewport: Viewport, delta: number, pixel: Pixel, frame: MatrixFrame): Viewport | undefined {
  if (delta > 0 && isWhole(viewport, frame)) return undefined;
  return zoom(viewport, Math.exp(-Math.max(-100, Math.min(100, delta)) * 0.004), pixel, frame);
}

export function sameCell(a: Cell | undefined, b: Cell | undefined): boolean {
  return a?.query === b?.query && a?.key === b?.key;
}

function zoomAtCell({ viewport, cell, locked }: MatrixState, factor: number, frame: MatrixFrame): Viewport {
  const at = cell ?? locked ?? centre(viewport, frame);
  const x = (at.key + 0.5 - viewport.key) * viewport.cell;
  const y = (at.query + 0.5 - viewport.query) * viewport.cell;
  return zoom(viewport, factor, { x, y }, frame);
}

function centre(viewport: Viewport, frame: MatrixFrame): Cell {
  return cellAt(viewport, frame.size / 2, frame.size / 2, frame) ?? { query: 0, key: 0 };
}

function moved({ query, key }: Cell, [dx, dy]: readonly [number, number], { queries, keys }: MatrixFrame): Cell {
  const within = (at: number, count: number): number => Math.min(Math.max(at, 0), count - 1);
  return { query: within(query + dy, queries), key: within(key + dx, keys) };
}
