import { type Mark, plotlyMarks, spanOf } from "../../../../backend/common/figures/marks.ts";
import type { PlotlyFigure } from "../../../../backend/common/figures/plotly.ts";
import { plotTexts } from "../../../../backend/common/figures/text.ts";
import { lineColour } from "../../colours.ts";
import { type Level, levelShapes, verticalLine } from "../../components/plot/levels.ts";
import type { MetricCurve } from "./curves.ts";

/** A line of a panel. */
export interface Line extends MetricCurve {
  readonly name: string;
  /** Place in the order of colours; the theme has the colour when the line is drawn. */
  readonly colour: number;
  readonly dashed?: boolean;
  /** Drawn faint behind the lines: what was measured, where a line is smoothed. */
  readonly raw?: MetricCurve;
  readonly low?: readonly (number | null)[];
  readonly high?: readonly (number | null)[];
  /** Said of each value on hover, such as the head it belongs to. */
  readonly notes?: readonly string[];
}

/** Contents of a panel of curves. */
export interface PanelOptions {
  readonly lines: readonly Line[];
  readonly unit: string;
  readonly logSteps: boolean;
  readonly logValues: boolean;
  readonly levels?: readonly Level[];
  /** Steps with a word: where half of a rise was made. */
  readonly marks?: readonly Mark[];
  /** Last step of the axis, so that it stays while a run trains; default where the lines end. */
  readonly until?: number | undefined;
  /** The step that is looked at. */
  readonly step?: number | undefined;
  readonly legend: boolean;
  /** The legend names the levels too; where it does not, whoever shows the figure does. Default false. */
  readonly namedLevels?: boolean;
}

const QUIET = "#808080";

/** A panel of curves over steps for plotly.js; what has no place on a logarithmic axis is left out. */
export function panelFigure(own: PanelOptions): PlotlyFigure {
  const options = plotTexts(own);
  const { lines, unit, logSteps, logValues, legend, levels = [], namedLevels = false } = options;
  const steps = [...lines.flatMap((line) => line.steps), options.until ?? 0].filter((step) => !logSteps || step > 0);
  if (logSteps) steps.push(1);
  const marks = plotlyMarks(options.marks ?? [], { log: logSteps, span: spanOf(steps, logSteps) });
  return {
    data: lines.flatMap((line, n) => traces(line, n, legend)),
    layout: {
      xaxis: { title: { text: "step" }, type: logSteps ? "log" : "linear", ...range(steps, logSteps) },
      yaxis: {
        title: { text: unit },
        type: logValues ? "log" : "linear",
        ...(logValues ? {} : { rangemode: "tozero" }),
      },
      shapes: [
        ...levelShapes(levels, { log: logValues, legend: namedLevels }),
        ...marks.shapes,
        ...stepShapes(options),
      ],
      annotations: [...noteOfNone(lines, logSteps), ...marks.annotations],
      showlegend: legend,
      legend: { orientation: "h", x: 0, y: 1, yref: "container", yanchor: "top", font: { size: 11 } },
      hovermode: "x unified",
      margin: { l: 56, r: 12, t: legend ? 24 : 8, b: 44 },
      // Zoom and hidden lines stay while measurements arrive.
      uirevision: `${logSteps} ${logValues}`,
    },
  };
}

function traces(line: Line, n: number, legend: boolean) {
  const { name, steps, values, dashed, raw, low, high, notes } = line;
  const colour = lineColour(line.colour);
  const common = { type: "scatter", mode: "lines", x: steps, legendgroup: String(n) };
  const hidden = { ...common, hoverinfo: "skip", showlegend: false };
  const edge = { ...hidden, line: { width: 0 } };
  const band =
    low === undefined || high === undefined
      ? []
      : [
          { ...edge, y: low },
          { ...edge, y: high, fill: "tonexty", fillcolor: `${colour}2e` },
        ];
  const behind =
    raw === undefined ? [] : [{ ...hidden, x: raw.steps, y: raw.values, line: { color: `${colour}55`, width: 1 } }];
  // A line of one value cannot be seen.
  const mode = values.filter((value) => value !== null).length < 2 ? "markers" : "lines";
  return [
    ...band,
    ...behind,
    {
      ...common,
      mode,
      y: values,
      name,
      showlegend: legend,
      line: { color: colour, width: 2, dash: dashed === true ? "dash" : "solid" },
      marker: { color: colour, size: 5 },
      ...(notes === undefined ? {} : { customdata: notes }),
      hovertemplate: `${name} %{y:.4g}${notes === undefined ? "" : " (%{customdata})"}<extra></extra>`,
    },
  ];
}

/** The axis covers what was measured or will be, so that it does not jump when the marker moves. */
function range(steps: readonly number[], log: boolean): { range?: [number, number] } {
  const low = steps.reduce((a, b) => Math.min(a, b), Infinity);
  const high = steps.reduce((a, b) => Math.max(a, b), -Infinity);
  if (low >= high) return {};
  return { range: log ? [Math.log10(low), Math.log10(high)] : [low, high] };
}

/** Says so where the first measurement has no place on the axis: an empty plot would look broken. */
function noteOfNone(lines: readonly Line[], logSteps: boolean) {
  if (!logSteps || lines.some(({ steps }) => steps.some((step) => step > 0))) return [];
  const place = { xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false };
  return [
    { ...place, text: "measured at step 0 so far,<br>which a logarithmic axis cannot show", font: { color: QUIET } },
  ];
}

/** The step that is looked at; on a logarithmic axis step 0 stands at the left edge. */
function stepShapes({ step, logSteps }: PanelOptions) {
  if (step === undefined) return [];
  const at = logSteps ? Math.max(step, 1) : step;
  return [verticalLine(at, { width: 1.5, color: QUIET })];
}
