/** A line down a plotly figure at a place of its axis x. @param line its look */
export function verticalLine(x: number, line: object = { width: 1, dash: "dot" }): Record<string, unknown> {
  return { type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line };
}

/** A value to compare with, such as chance. */
export interface Level {
  readonly value: number;
  readonly label: string;
}

/** Grey that can be seen on light and on dark ground. */
const QUIET = "#808080";

/**
 * Dotted lines across a plotly figure, below its curves. Their words are entries of its legend: beside the lines they would lie on
 * the curves that come near.
 * @param log whether the axis of values is logarithmic, on which what is not above 0 has no place
 * @param legend whether the legend names them
 */
export function levelShapes(
  levels: readonly Level[],
  { log = false, legend }: { readonly log?: boolean; readonly legend: boolean },
): Record<string, unknown>[] {
  return levels
    .filter(({ value }) => !log || value > 0)
    .map(({ value, label }) => ({
      ...{ type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, layer: "below" },
      line: { width: 1, dash: "dot", color: QUIET },
      name: label,
      showlegend: legend,
    }));
}
