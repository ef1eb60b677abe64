/** A word at a place of a horizontal axis. */
export interface Mark {
  readonly x: number;
  readonly label: string;
}

/** A mark with its place among others. */
export interface PlacedMark extends Mark {
  /** From 0 down: words that would touch stand one below the other. */
  readonly row: number;
  /** True where the word stands left of its place, as the axis ends soon. */
  readonly turned: boolean;
}

/** Share of the axis that a word may take; its width in pixels is known only where it is drawn. */
const WIDTH = 0.34;

/**
 * Places marks so that none of their words lies on another one; those without a place on the axis are left out: plotly would begin
 * a logarithmic one at 10^-300.
 * @param axis `span`: the first and the last value that it shows
 */
export function placedMarks(
  marks: readonly Mark[],
  { log = false, span }: { log?: boolean; span: readonly [number, number] },
): PlacedMark[] {
  const scaled = (x: number) => (log ? Math.log(x) : x);
  const [low, high] = [scaled(span[0]), scaled(span[1])];
  const ends: number[] = [];
  return marks
    .filter(({ x }) => !log || x > 0)
    .sort((a, b) => a.x - b.x)
    .map(({ x, label }) => {
      const at = high > low ? (scaled(x) - low) / (high - low) : 0;
      const turned = at + WIDTH > 1;
      const start = turned ? at - WIDTH : at;
      const free = ends.findIndex((end) => end <= start);
      const row = free < 0 ? ends.length : free;
      ends[row] = start + WIDTH;
      return { x, label, row, turned };
    });
}

/** First and last of the values that an axis can show; 1 and 10 of none. */
export function spanOf(values: readonly number[], log = false): [number, number] {
  const drawable = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (drawable.length === 0) return [1, 10];
  return [drawable.reduce((a, b) => Math.min(a, b)), drawable.reduce((a, b) => Math.max(a, b))];
}

/** Height of a row of words, in pixels. */
const ROW = 14;

/** Rules for plotly.js, and their words as annotations that stand in rows from the top. */
export function plotlyMarks(
  marks: readonly Mark[],
  axis: { log?: boolean; span: readonly [number, number] },
): { shapes: Record<string, unknown>[]; annotations: Record<string, unknown>[] } {
  const placed = placedMarks(marks, axis);
  return {
    shapes: placed.map(({ x }) => ({
      ...{ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper" },
      line: { width: 1, dash: "dot", color: "#808080" },
    })),
    annotations: placed.map(({ x, label, row, turned }) => ({
      // Annotations of a logarithmic axis stand at logarithms, unlike shapes.
      ...{ x: axis.log === true ? Math.log10(x) : x, y: 1, yref: "paper", yanchor: "top", yshift: -ROW * row },
      ...{ text: label, showarrow: false, xanchor: turned ? "right" : "left", xshift: turned ? -3 : 3 },
      font: { size: 11 },
    })),
  };
}
