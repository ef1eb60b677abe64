import { lineColour } from "../../colours.ts";
import type { Table } from "../../components/card/files.ts";
import type { PlotFigure } from "../../components/plot/figure.ts";
import { shareText } from "../result/result.ts";

/** A place with its exact share and the estimate of it. */
export interface Gap {
  readonly place: string;
  readonly layer: number;
  readonly column: number;
  readonly exact: number;
  readonly estimate: number;
}

/** The places of two tables of shares, those first whose estimates are farthest off. @param name of a place */
export function gapsOf(
  exact: readonly (readonly number[])[],
  estimates: readonly (readonly number[])[],
  name: (place: { layer: number; column: number }) => string,
): Gap[] {
  return exact
    .flatMap((row, layer) =>
      row.map((share, column) => ({
        ...{ place: name({ layer, column }), layer, column, exact: share },
        estimate: estimates[layer]?.[column] ?? Number.NaN,
      })),
    )
    .filter((gap) => Number.isFinite(gap.exact) && Number.isFinite(gap.estimate))
    .sort((a, b) => Math.abs(b.estimate - b.exact) - Math.abs(a.estimate - a.exact));
}

/** Agreement of estimates with what is exact. */
export interface Agreement {
  /** Pearson's, of the shares; NaN where one side does not vary. */
  readonly correlation: number;
  /** Of the ten places that are strongest by runs, the number that are among the ten strongest by estimate. */
  readonly top: number;
  /** Number of places that `top` is out of. */
  readonly of: number;
}

/** Compares estimates with exact shares. */
export function agreement(gaps: readonly Gap[]): Agreement {
  const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  const [x, y] = [gaps.map(({ exact }) => exact), gaps.map(({ estimate }) => estimate)];
  const [mx, my] = [mean(x), mean(y)];
  const sum = (of: (i: number) => number): number => gaps.reduce((total, _, i) => total + of(i), 0);
  const spread = Math.sqrt(sum((i) => (x[i]! - mx) ** 2) * sum((i) => (y[i]! - my) ** 2));
  const of = Math.min(10, gaps.length);
  const strongest = (value: (gap: Gap) => number): Set<string> =>
    new Set(
      [...gaps]
        .sort((a, b) => Math.abs(value(b)) - Math.abs(value(a)))
        .slice(0, of)
        .map(({ place }) => place),
    );
  const exact = strongest((gap) => gap.exact);
  const top = [...strongest((gap) => gap.estimate)].filter((place) => exact.has(place)).length;
  return { correlation: spread > 0 ? sum((i) => (x[i]! - mx) * (y[i]! - my)) / spread : Number.NaN, top, of };
}

/** Places whose names a figure writes. */
const NAMED = 6;

/** Every place as a point, the exact share to the right and the estimate upwards; on the dashed line both agree. */
export function gapFigure(gaps: readonly Gap[], word: string): PlotFigure {
  const values = gaps.flatMap(({ exact, estimate }) => [exact, estimate]);
  const [low, high] = [Math.min(0, ...values), Math.max(0.05, ...values)];
  return {
    data: [
      {
        ...{ type: "scatter", mode: "markers+text", textposition: "top center", hoverinfo: "text", cliponaxis: false },
        x: gaps.map(({ exact }) => exact),
        y: gaps.map(({ estimate }) => estimate),
        text: gaps.map(({ place }, i) => (i < NAMED ? place.split(",").at(-1)!.trim() : "")),
        hovertext: gaps.map(
          ({ place, exact, estimate }) => `${place}<br>${word} ${shareText(exact)}<br>estimated ${shareText(estimate)}`,
        ),
        customdata: gaps.map(({ layer, column }) => `${layer}.${column}`),
        marker: { size: 7, opacity: 0.7, color: lineColour(0) },
      },
    ],
    layout: {
      showlegend: false,
      xaxis: { title: { text: `${word}, exact` }, tickformat: ".0%", zeroline: true },
      yaxis: { title: { text: "estimated" }, tickformat: ".0%", zeroline: true },
      shapes: [
        {
          type: "line",
          x0: low,
          x1: high,
          y0: low,
          y1: high,
          layer: "below",
          line: { width: 1, dash: "dash", color: "#808080" },
        },
      ],
      margin: { l: 56, r: 8, t: 16, b: 44 },
    },
  };
}

/** All places as a table. @param word of the shares */
export function gapsTable(gaps: readonly Gap[], word: string): Table {
  return {
    columns: ["place", word, "estimated", "gap"],
    rows: gaps.map(({ place, exact, estimate }) => [place, exact, estimate, estimate - exact]),
  };
}
