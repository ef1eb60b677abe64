import { plotText } from "../../../backend/common/figures/text.ts";
import type { ComparedModel } from "../../../backend/server/api.ts";
import type { Figure } from "../components/figure.ts";

/** How a model is told from the other in a figure. */
export interface ModelStyle {
  readonly name: string;
  /** #rrggbb */
  readonly colour: string;
}

/** The best and the mean score of every layer of two models over relative depth: best solid, mean dashed. */
export function depthFigure(models: readonly ComparedModel[], styles: readonly ModelStyle[], metric: string): Figure {
  return {
    data: models.flatMap((model, i) => [line(model, styles[i]!, "best", i), line(model, styles[i]!, "mean", i)]),
    layout: {
      xaxis: { title: { text: "relative depth, layer / (layers - 1)" }, range: [-0.03, 1.03], zeroline: false },
      yaxis: { title: { text: plotText(metric) }, rangemode: "tozero" },
      showlegend: true,
    },
  };
}

function line({ layers }: ComparedModel, style: ModelStyle, kind: "best" | "mean", i: number): Figure["data"][number] {
  const name = plotText(style.name);
  const best = kind === "best";
  return {
    type: "scatter",
    mode: "lines+markers", // a model of one layer has no line
    name: `${name}: ${kind}`,
    x: layers.map(({ depth }) => depth),
    y: layers.map((layer) => layer[kind]),
    customdata: layers.map(({ layer, head }) => (best ? head : `layer ${layer}`)),
    hovertemplate: `<b>%{customdata}</b><br>depth %{x:.2f}<br>${kind} %{y:.3f}<extra>${name}</extra>`,
    line: { color: style.colour, width: best ? 2 : 1.5, dash: best ? "solid" : "dash" },
    marker: { color: style.colour, size: best ? 6 : 3, symbol: i === 0 ? "circle" : "square" },
  };
}
