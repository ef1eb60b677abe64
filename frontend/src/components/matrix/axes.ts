import { type Cell, type MatrixFrame, seen, type Viewport } from "./viewport.ts";

/** A label of an axis. */
export interface AxisLabel {
  readonly index: number;
  /** Pixels from the beginning of the axis to the middle of the cell. */
  readonly at: number;
}

/** The part of an axis that is seen. */
export interface AxisPart {
  /** Position at its beginning, in cells. */
  readonly start: number;
  /** Pixels of a cell. */
  readonly cell: number;
  /** Pixels of the part. */
  readonly size: number;
  /** Cells of the whole axis. */
  readonly count: number;
}

/** The cells of an axis that get a label, so that labels are at least `apart` pixels from each other: every one, or each 2nd, 5th, 10th, ... */
export function thinned({ start, cell, size, count }: AxisPart, apart: number): AxisLabel[] {
  const step = roundStep(apart / cell);
  const [first, end] = seen(start, cell, size, count);
  const ticks: AxisLabel[] = [];
  for (let index = Math.ceil(first / step) * step; index < end; index += step) {
    const at = (index + 0.5 - start) * cell;
    if (at >= 0 && at <= size) ticks.push({ index, at });
  }
  return ticks;
}

function roundStep(least: number): number {
  for (let power = 1; ; power *= 10) for (const factor of [1, 2, 5]) if (factor * power >= least) return factor * power;
}

/** Measures and colours of a matrix's axes and marks. */
export interface Drawing {
  readonly viewport: Viewport;
  readonly frame: MatrixFrame;
  /** Pixels left of and above the cells. */
  readonly margin: { readonly left: number; readonly top: number };
  /** Text at a position. */
  readonly label: (index: number) => string;
  readonly font: string;
  readonly colours: Readonly<Record<"quiet" | "text" | "accent" | "locked" | "outgoing" | "incoming", string>>;
  /** The cell that is read, and the one that is kept. */
  readonly cell?: Cell | undefined;
  readonly locked?: Cell | undefined;
  /** A token whose row, its outgoing attention, and column, its incoming one, are marked. */
  readonly token?: number | undefined;
}

const APART = 13;
const GAP = 6;

/** Draws labels of both axes and the marks over the cells. @param context in CSS pixels, origin at the corner of the margins */
export function drawAxes(context: CanvasRenderingContext2D, drawing: Drawing): void {
  const { margin, frame, font } = drawing;
  context.clearRect(0, 0, margin.left + frame.size, margin.top + frame.size);
  context.save();
  context.translate(margin.left, margin.top);
  context.font = font;
  context.textBaseline = "middle";
  drawLabels(context, drawing, "query");
  drawLabels(context, drawing, "key");
  drawMarks(context, drawing);
  context.restore();
}

function drawLabels(context: CanvasRenderingContext2D, drawing: Drawing, axis: "query" | "key"): void {
  const { viewport, frame, margin, label, colours, cell, token } = drawing;
  const [start, count, room] =
    axis === "query" ? [viewport.query, frame.queries, margin.left] : [viewport.key, frame.keys, margin.top];
  const marked = cell?.[axis] ?? token;
  const at = marked === undefined ? undefined : (marked + 0.5 - start) * viewport.cell;
  context.save();
  if (axis === "key") context.rotate(-Math.PI / 2);
  context.textAlign = axis === "query" ? "right" : "left";
  const write = (tick: AxisLabel): void => {
    const text = fitted(context, label(tick.index), room - GAP - 2);
    if (axis === "query") context.fillText(text, -GAP, tick.at);
    else context.fillText(text, GAP, tick.at);
  };
  context.fillStyle = colours.quiet;
  for (const tick of thinned({ start, cell: viewport.cell, size: frame.size, count }, APART))
    if (at === undefined || Math.abs(tick.at - at) >= APART) write(tick);
  if (marked !== undefined && at! >= 0 && at! <= frame.size) {
    context.fillStyle = colours.text;
    write({ index: marked, at: at! });
  }
  context.restore();
}

function drawMarks(
  context: CanvasRenderingContext2D,
  { viewport, frame, colours, cell, locked, token }: Drawing,
): void {
  context.beginPath();
  context.rect(0, 0, frame.size, frame.size);
  context.clip();
  const size = Math.max(viewport.cell, 3);
  const place = (index: number, start: number): number => (index + 0.5 - start) * viewport.cell - size / 2;
  context.lineWidth = 1;
  if (cell) {
    context.strokeStyle = colours.accent;
    context.setLineDash([2, 3]);
    const [x, y] = [
      (cell.key + 0.5 - viewport.key) * viewport.cell,
      (cell.query + 0.5 - viewport.query) * viewport.cell,
    ];
    line(context, [0, y], [x - size / 2, y]);
    line(context, [x, 0], [x, y - size / 2]);
    context.setLineDash([]);
  } else if (token !== undefined) {
    const [x, y] = [place(token, viewport.key), place(token, viewport.query)];
    context.strokeStyle = colours.outgoing;
    context.strokeRect(-1, y - 0.5, x + size + 1.5, size + 1);
    context.strokeStyle = colours.incoming;
    context.strokeRect(x - 0.5, y - 0.5, size + 1, frame.size);
  }
  for (const [mark, colour] of [
    [locked, colours.locked],
    [cell, colours.accent],
  ] as const) {
    if (!mark) continue;
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.strokeRect(place(mark.key, viewport.key) - 1, place(mark.query, viewport.query) - 1, size + 2, size + 2);
  }
}

function line(context: CanvasRenderingContext2D, from: [number, number], to: [number, number]): void {
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

/** A text, shortened so that it fits. */
function fitted(context: CanvasRenderingContext2D, text: string, room: number): string {
  if (context.measureText(text).width <= room) return text;
  const letters = [...text];
  while (letters.length > 1 && context.measureText(`${letters.join("")}…`).width > room) letters.pop();
  return `${letters.join("")}…`;
}
