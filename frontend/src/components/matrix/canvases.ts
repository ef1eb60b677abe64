import type { ColourTable } from "./colourTable.ts";
import { type Masked, type Painting, paintCells } from "./paint.ts";
import type { Pyramid } from "./pyramid.ts";

/** Device pixels a CSS pixel, two at most: more cannot be told apart and cost time. */
export function density(): number {
  return Math.min(2, Math.max(1, devicePixelRatio));
}

/** Painted over and over: a new one for each frame would be a megabyte to collect. */
const images = new WeakMap<HTMLCanvasElement, ImageData>();

/**
 * Paints a square of cells. Does nothing where there is no canvas to draw on.
 * @param side of the canvas in device pixels
 * @returns how many cells a side of a painted cell stands for
 */
export function paintSquare(canvas: HTMLCanvasElement, side: number, painting: Painting): number {
  const context = canvas.getContext("2d");
  if (!context || side === 0) return 1;
  let image = images.get(canvas);
  if (image?.width !== side) {
    canvas.width = canvas.height = side;
    image = context.createImageData(side, side);
    images.set(canvas, image);
  }
  const { factor } = paintCells(new Uint32Array(image.data.buffer), side, painting);
  context.putImageData(image, 0, 0);
  return factor;
}

/** Every cell of a matrix as one pixel, as the data URL of a PNG. @param side of the matrix in cells */
export function cellsAsPng(side: number, pyramid: Pyramid, table: ColourTable, masked: Masked): string {
  const sheet = document.createElement("canvas");
  paintSquare(sheet, side, {
    ...{ pyramid, table, viewport: { key: 0, query: 0, cell: 1 } },
    masked: { ...masked, line: masked.ground },
  });
  return sheet.toDataURL("image/png");
}

/** Makes a canvas as large as asked, empty, and its context count in CSS pixels; undefined where there is none. */
export function freshContext(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D | undefined {
  const context = canvas.getContext("2d");
  if (!context || width === 0 || height === 0) return undefined;
  canvas.width = Math.round(width * density());
  canvas.height = Math.round(height * density());
  context.scale(density(), density());
  return context;
}
