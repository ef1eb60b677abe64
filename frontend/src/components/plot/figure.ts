import type { Layout, Trace } from "plotly.js/dist/plotly-cartesian.min.js";
import { lineColour, plotlyScale, token } from "../../colours.ts";

/** A figure as plotly draws it; colours and fonts that it does not set follow the theme. */
export interface PlotFigure {
  readonly data: readonly Trace[];
  readonly layout?: Layout | undefined;
}

/** A point of a figure that was clicked. */
export interface FigurePoint {
  /** Number of the trace, from 0. */
  readonly curve: number;
  /** Number of the point in it; of a heatmap its cells row by row. */
  readonly index: number;
  readonly x: unknown;
  readonly y: unknown;
  /** The point's customdata. */
  readonly data: unknown;
}

/** The layout with the theme's colours and fonts under what the figure sets itself. Reactive on the theme. */
export function themed(layout: Layout = {}): Layout {
  const [text, quiet, border, surface] = ["--text", "--text-quiet", "--border", "--surface-raised"].map(token);
  const family = getComputedStyle(document.body).fontFamily;
  const axis = {
    gridcolor: border,
    zerolinecolor: border,
    linecolor: border,
    tickcolor: border,
    tickfont: { color: quiet },
    automargin: true,
  };
  const axes = Object.keys({ xaxis: 0, yaxis: 0, ...layout }).filter((key) => /^[xy]axis\d*$/.test(key));
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    colorway: Array.from({ length: 7 }, (_, i) => lineColour(i)),
    colorscale: { sequential: plotlyScale("heat"), diverging: plotlyScale("diverging") },
    font: { family, size: 12, color: text },
    margin: { l: 48, r: 16, t: 12, b: 40 },
    hovermode: "closest",
    hoverlabel: { bgcolor: surface, bordercolor: border, font: { family, color: text } },
    // A zoom stays while the data change, until the axes mean something else.
    uirevision: axes.map((key) => JSON.stringify((layout[key] as { title?: unknown } | undefined)?.title ?? "")).join(),
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    ...layout,
    ...Object.fromEntries(axes.map((key) => [key, { ...axis, ...(layout[key] as object | undefined) }])),
  };
}
