import type { AblateEachResponse } from "../../../../backend/common/api/patching.ts";
import { plotText } from "../../../../backend/common/figures/text.ts";
import { lineColour, plotlyScale } from "../../colours.ts";
import type { Table } from "../../components/card/files.ts";
import type { PlotFigure } from "../../components/plot/figure.ts";
import { visible } from "../../format.ts";
import { metricText, metricWords } from "../choices.ts";
import type { EachAblated } from "./each.svelte.ts";

/** The change of the metric without each part: without it less with it. */
export function changes({ clean, ablated }: AblateEachResponse): number[][] {
  return ablated.map((row) => row.map((value) => value - clean));
}

/** Half the length of a scale of changes. */
function farthest(table: readonly (readonly number[])[]): number {
  return Math.max(1e-6, ...table.flat().map(Math.abs));
}

/** Layers by source tokens as a heatmap. @param locked position that is marked */
export function sourceFigure({ response, tokens }: EachAblated, locked: number | undefined): PlotFigure {
  const table = changes(response);
  const names = tokens.map((token) => plotText(visible(token)));
  const end = farthest(table);
  const words = table.map((row, layer) =>
    row.map(
      (change, p) =>
        `layer ${layer}, token ${p} ${names[p]}<br>change ${metricText(change, response.metric)}<br>${metricWords(response.metric)} ${metricText(response.ablated[layer]![p]!, response.metric)}`,
    ),
  );
  const marked = locked === undefined || locked >= tokens.length ? [] : [locked];
  return {
    data: [
      {
        ...{ type: "heatmap", z: table, text: words, hoverinfo: "text", xgap: 1, ygap: 1, zmin: -end, zmax: end },
        colorscale: plotlyScale("diverging"),
        colorbar: { thickness: 12, outlinewidth: 0, title: { text: "change", side: "right" } },
      },
    ],
    layout: {
      xaxis: {
        ...{ tickmode: "array", tickvals: names.map((_, p) => p), ticktext: names, tickangle: -60 },
        ...{ showgrid: false, zeroline: false },
      },
      yaxis: { title: { text: "layer" }, showgrid: false, zeroline: false, dtick: table.length > 16 ? 5 : 1 },
      shapes: marked.map((p) => ({
        ...{ type: "rect", x0: p - 0.5, x1: p + 0.5, y0: 0, y1: 1, yref: "paper" },
        line: { width: 2, color: "#d55e00" },
      })),
      margin: { l: 48, r: 8, t: 8, b: 80 },
    },
  };
}

/** Layers as bars, beside the mean of the others. */
export function layersFigure({ response }: EachAblated): PlotFigure {
  const values = changes(response).map(([change]) => change!);
  const control = response.control.map(([other]) =>
    other === null || other === undefined ? null : other - response.clean,
  );
  const { word } = { word: metricWords(response.metric) };
  return {
    data: [
      {
        ...{ type: "bar", name: "without it", x: values.map((_, layer) => layer), y: values },
        marker: { color: lineColour(0) },
        text: values.map((change, layer) => `layer ${layer}<br>change ${metricText(change, response.metric)}`),
        textposition: "none",
        hovertemplate: "%{text}<extra></extra>",
      },
      {
        ...{
          type: "scatter",
          mode: "lines",
          name: "mean without another",
          x: values.map((_, layer) => layer),
          y: control,
        },
        line: { color: lineColour(6), dash: "dot" },
        hovertemplate: "layer %{x}<br>%{y:.3f}<extra>mean without another</extra>",
      },
    ],
    layout: {
      xaxis: { title: { text: "layer" }, dtick: values.length > 16 ? 5 : 1 },
      yaxis: { title: { text: `change of ${word}` }, zeroline: true },
      margin: { l: 56, r: 8, t: 32, b: 40 },
    },
  };
}

/** All numbers as a table. */
export function eachTable({ response, tokens }: EachAblated): Table {
  const { each, ablated, control, metric } = response;
  const column = { head: ["head"], source: ["position", "token"], mlp: [], layer: [] }[each];
  return {
    columns: ["layer", ...column, metric, "change", "control"],
    rows: ablated.flatMap((row, layer) =>
      row.map((value, c) => [
        layer,
        ...(each === "head" ? [c] : each === "source" ? [c, tokens[c] ?? ""] : []),
        ...[value, value - response.clean, control[layer]?.[c] ?? ""],
      ]),
    ),
  };
}
