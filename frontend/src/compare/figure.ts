import type { ComparedModel } from "../../../backend/common/api/documents.ts";
import { plotText } from "../../../backend/common/figures/text.ts";
import type { PlotFigure } from "../components/plot/figure.ts";
import { type Level, levelShapes } from "../components/plot/levels.ts";
import { figure } from "../format.ts";

/** The look of a model, to tell it from the other, in a figure. */
export interface ModelStyle {
  readonly name: string;
  /** #rrggbb */
  readonly colour: string;
}

/** Levels of chance: one where both models have the same, else one by the name of each, as other parameters make them. */
export function chanceLevels(models: readonly ComparedModel[]): Level[] {
  const known = models.flatMap(({ model, chance }) => (chance === undefined ? [] : [{ ref: model.ref, chance }]));
  const [first] = known;
  if (first === undefined) return [];
  const shared = known.length === models.length && known.every(({ chance }) => chance === first.chance);
  return shared
    ? [{ value: first.chance, label: `chance ${figure(first.chance)}` }]
    : known.map(({ ref, chance }) => ({ value: chance, label: `chance of ${ref} ${figure(chance)}` }));
}

/** The best and the mean score of every layer of two models over relative depth: best solid, mean dashed, chance dotted. */
export function depthFigure(
  models: readonly ComparedModel[],
  styles: readonly ModelStyle[],
  metric: string,
): PlotFigure {
  return {
    data: models.flatMap((model, i) => [line(model, styles[i]!, "best", i), line(model, styles[i]!, "mean", i)]),
    layout: {
      xaxis: { title: { text: "relative depth, layer / (layers - 1)" }, range: [-0.03, 1.03], zeroline: false },
      yaxis: { title: { text: plotText(metric) }, rangemode: "tozero" },
      shapes: levelShapes(
        chanceLevels(models).map(({ value, label }) => ({ value, label: plotText(label) })),
        { legend: true },
      ),
      showlegend: true,
    },
  };
}

function line(
  { layers }: ComparedModel,
  style: ModelStyle,
  kind: "best" | "mean",
  i: number,
): PlotFigure["data"][number] {
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
