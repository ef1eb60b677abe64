import type { AttributeResponse, LensResponse } from "../../../../backend/common/api/attribution.ts";
import { formatHead, readHead } from "../../../../backend/common/heads/head.ts";
import { lineColour } from "../../colours.ts";
import type { Table } from "../../components/card/files.ts";
import type { PlotFigure } from "../../components/plot/figure.ts";
import { signedNats } from "../../format.ts";
import { shareText } from "../result/result.ts";

/** Names of the heads that a scatter writes beside their points. */
const NAMED = 8;

/** A head's direct effect, in logits, and the share that patching it moves. */
export interface HeadEffects {
  readonly head: string;
  readonly direct: number;
  readonly share: number;
}

/** The heads of two tables [layers][heads], in order of layer and head. */
export function headEffects(
  direct: readonly (readonly number[])[],
  shares: readonly (readonly number[])[],
): HeadEffects[] {
  return direct.flatMap((row, layer) =>
    row.map((value, head) => ({
      head: formatHead({ layer, head }),
      direct: value,
      share: shares[layer]?.[head] ?? Number.NaN,
    })),
  );
}

/** Distance of a point from nothing, with both axes in lengths of their farthest points. */
function far({ direct, share }: HeadEffects, ends: readonly [number, number]): number {
  return Math.hypot(direct / ends[0], share / ends[1]);
}

/** Every head as a point: what it writes directly against what patching it does. @param word of the shares, such as "restored" */
export function effectScatter(effects: readonly HeadEffects[], word: string, selected: readonly string[]): PlotFigure {
  const finite = effects.filter(({ direct, share }) => Number.isFinite(direct) && Number.isFinite(share));
  const most = (of: (each: HeadEffects) => number): number =>
    Math.max(1e-9, ...finite.map((each) => Math.abs(of(each))));
  const ends = [most(({ direct }) => direct), most(({ share }) => share)] as const;
  const named = new Set(
    [...finite]
      .sort((a, b) => far(b, ends) - far(a, ends))
      .slice(0, NAMED)
      .map(({ head }) => head),
  );
  const chosen = new Set(selected);
  return {
    data: [
      {
        type: "scatter",
        mode: "markers+text",
        x: finite.map(({ direct }) => direct),
        y: finite.map(({ share }) => share),
        customdata: finite.map(({ head }) => head),
        text: finite.map(({ head }) => (named.has(head) ? head : "")),
        textposition: "top center",
        hovertext: finite.map(
          ({ head, direct, share }) =>
            `head ${head}<br>direct effect ${signedNats(direct)}<br>${word} ${shareText(share)}`,
        ),
        hoverinfo: "text",
        cliponaxis: false,
        marker: {
          size: 8,
          opacity: 0.8,
          color: finite.map(({ head }) => readHead(head)!.layer),
          colorscale: [
            [0, lineColour(1)],
            [1, lineColour(0)],
          ],
          colorbar: { title: { text: "layer", side: "right" }, thickness: 10, outlinewidth: 0 },
          line: { width: finite.map(({ head }) => (chosen.has(head) ? 2 : 0)), color: "#d55e00" },
        },
      },
    ],
    layout: {
      showlegend: false,
      xaxis: { title: { text: "direct effect (logits)" }, zeroline: true },
      yaxis: { title: { text: word }, tickformat: ".0%", zeroline: true },
      margin: { l: 56, r: 8, t: 16, b: 44 },
    },
  };
}

/** Both effects of every head as a table. @param word of the shares */
export function effectsTable(effects: readonly HeadEffects[], word: string | undefined): Table {
  return {
    columns: ["head", "direct", ...(word === undefined ? [] : [word])],
    rows: effects.map(({ head, direct, share }) => [head, direct, ...(word === undefined ? [] : [share])]),
  };
}

/** A point of the stream: how many layers are behind it, halves behind attention. */
function depthOf(at: string): number {
  const [, layer, place] = /^blocks\.(\d+)\.hook_resid_(pre|mid|post)$/.exec(at) ?? [];
  return Number(layer) + { pre: 0, mid: 0.5, post: 1 }[place as "pre" | "mid" | "post"];
}

/** The answer's growth in the stream: what its parts have added up to, what a lens reads, and what every layer adds. */
export function streamFigure({ accumulated, parts }: AttributeResponse, lens: LensResponse | undefined): PlotFigure {
  const attention = parts.heads.map((row, layer) => row.reduce((sum, value) => sum + value, parts.attnBias[layer]!));
  const hover = "layer %{x}<br>%{y:.3f}<extra>%{fullData.name}</extra>";
  const bar = (name: string, y: readonly number[], offset: number, colour: number): Record<string, unknown> => ({
    type: "bar",
    name,
    x: y.map((_, layer) => layer + offset),
    y,
    width: 0.4,
    marker: { color: lineColour(colour), opacity: 0.55 },
    hovertext: y.map((value, layer) => `layer ${layer}<br>${name} ${signedNats(value)}`),
    hoverinfo: "text",
  });
  return {
    data: [
      bar("attention writes", attention, 0.25, 0),
      bar("MLP writes", parts.mlps, 0.75, 1),
      {
        ...{ type: "scatter", mode: "lines+markers", name: "in the stream", hovertemplate: hover },
        x: accumulated.map(({ at }) => depthOf(at)),
        y: accumulated.map(({ value }) => value),
        line: { color: lineColour(2) },
        marker: { size: 4 },
      },
      ...(lens === undefined
        ? []
        : [
            {
              ...{ type: "scatter", mode: "lines", name: "logit lens", hovertemplate: hover },
              x: lens.rows.map(({ at }) => depthOf(at)),
              y: lens.rows.map(({ answer, wrong }) => answer - wrong),
              line: { color: lineColour(3), dash: "dot" },
            },
          ]),
    ],
    layout: {
      barmode: "overlay",
      xaxis: { title: { text: "layers behind" }, zeroline: false },
      yaxis: { title: { text: "logit difference" }, zeroline: true },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      margin: { l: 52, r: 8, t: 40, b: 40 },
    },
  };
}

/** The points of the stream as a table, with what the lens reads there. */
export function streamTable({ accumulated }: AttributeResponse, lens: LensResponse | undefined): Table {
  const read = new Map(lens?.rows.map(({ at, answer, wrong }) => [at, answer - wrong]));
  return {
    columns: ["at", "accumulated", ...(lens ? ["lens"] : [])],
    rows: accumulated.map(({ at, value }) => [at, value, ...(lens ? [read.get(at) ?? ""] : [])]),
  };
}
