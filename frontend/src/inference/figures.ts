import { lineColour, plotlyScale } from "../colours.ts";
import { verticalLine } from "../components/plot/levels.ts";
import type { MaskCurve } from "./mask/choice.ts";
import type { MemoryCurves } from "./memory/kv.ts";
import type { CacheSide, NeedleTable } from "./needle/needle.ts";

/** A measured cache: bytes at so many tokens. */
export interface CachePoint {
  readonly side: CacheSide;
  readonly tokens: number;
  readonly bytes: number;
  /** True if it was measured under other settings than those of now. */
  readonly before?: boolean;
}

const COLOURS: Readonly<Record<CacheSide, number>> = { full: 6, masked: 0 };

/** Both curves of predicted memory, and what was measured as dots on them. @param less by what less is held, such as "the mask" */
export function memoryFigure(curves: MemoryCurves, measured: readonly CachePoint[], less: string) {
  const names: Readonly<Record<CacheSide, string>> = { full: "all heads full", masked: `with ${less}` };
  const line = (side: CacheSide) => ({
    type: "scatter",
    mode: "lines",
    name: names[side],
    x: curves.tokens,
    y: curves[side],
    line: { color: lineColour(COLOURS[side]), width: 2 },
    ...(side === "masked" ? { fill: "tozeroy" } : {}),
    hovertemplate: "%{x} tokens: %{y:.1f} MB",
  });
  const dots = measured.map(({ side, tokens, bytes, before }) => ({
    type: "scatter",
    mode: "markers",
    name: before ? "measured before the change" : `measured, ${names[side]}`,
    x: [tokens],
    y: [bytes / 1e6],
    marker: { color: lineColour(COLOURS[side]), size: 9, symbol: "circle-open", line: { width: 2 } },
    opacity: before ? 0.5 : 1,
    hovertemplate: `%{x} tokens: %{y:.1f} MB measured${before ? " before the change" : ""}`,
    showlegend: false,
  }));
  return {
    data: [line("full"), line("masked"), ...dots],
    layout: {
      xaxis: { title: { text: "context (tokens)" }, rangemode: "tozero" },
      yaxis: { title: { text: "keys and values (MB)" }, rangemode: "tozero" },
      hovermode: "x unified",
    },
  };
}

/** Needle answers and loss against KV heads kept; the smallest mask that loses no answer is marked. */
export function curveFigure({ answered, points }: MaskCurve, smallest: number | undefined) {
  const x = points.map(({ kvHeads }) => kvHeads);
  const line = (name: string, y: readonly number[], colour: number) => ({
    type: "scatter",
    mode: "lines+markers",
    name,
    x,
    y,
    line: { color: lineColour(colour), width: 2 },
    marker: { size: 7 },
  });
  const right = points.map((point) => point.right);
  const loss = points.map((point) => point.loss);
  return {
    data: [
      line(`questions answered, of ${answered}`, right, 0),
      { ...line("loss (nats a token)", loss, 6), yaxis: "y2" },
    ],
    layout: {
      xaxis: { title: { text: "KV heads kept" }, rangemode: "tozero" },
      yaxis: { title: { text: "answered" }, rangemode: "tozero" },
      yaxis2: { title: { text: "loss" }, overlaying: "y", side: "right", showgrid: false },
      hovermode: "x unified",
      shapes: smallest === undefined ? [] : [verticalLine(smallest)],
    },
  };
}

/** Shares of right answers, lengths across, depths down. @param answers what hovering a cell tells, [depths][lengths] */
export function needleFigure({ lengths, depths, share }: NeedleTable, answers: readonly (readonly string[])[]) {
  const words = share.map((row) => row.map((value) => (value === null ? "" : `${Math.round(value * 100)}%`)));
  return {
    data: [
      {
        type: "heatmap",
        x: lengths.map(String),
        y: depths.map(String),
        z: share,
        zmin: 0,
        zmax: 1,
        colorscale: plotlyScale("heat"),
        xgap: 2,
        ygap: 2,
        text: words,
        texttemplate: "%{text}",
        customdata: answers,
        hovertemplate: "%{x} tokens, depth %{y}: %{text} right<br>%{customdata}<extra></extra>",
        showscale: false,
      },
    ],
    layout: {
      xaxis: { title: { text: "length (tokens)" }, type: "category" },
      yaxis: { title: { text: "depth (0 start, 1 end)" }, type: "category", autorange: "reversed" },
    },
  };
}
