import { plotText } from "../../../../backend/common/figures/text.ts";
import { formatHead, groupOf, type HeadShape, readHead } from "../../../../backend/common/heads/head.ts";
import { lineColour, plotlyScale } from "../../colours.ts";
import type { Table } from "../../components/card/files.ts";
import type { PlotFigure } from "../../components/plot/figure.ts";
import { visible } from "../../format.ts";
import { EFFECTS, metricText, metricWords } from "../choices.ts";
import type { Patched } from "../patching.svelte.ts";
import {
  canMatter,
  ofKvHeads,
  rawOf,
  restoration,
  scaleEnd,
  shareOf,
  type TablePlace,
  unionOfDiffer,
} from "./restoration.ts";

/** A share of restoration for people: "83%". */
export function shareText(share: number): string {
  return Number.isFinite(share) ? `${Math.round(100 * share)}%`.replace("-", "−") : "–";
}

/** The metric that a share of a table stands for, in words. */
export function metricOf(share: number, { metric, response }: Patched): string {
  return `${metricWords(metric)} ${metricText(rawOf(share, response), metric)}`;
}

/** The tokens of a position: one where the prompts agree, else "clean / corrupt". */
function positionTokens({ alignments: [first] }: Patched, position: number): string {
  const [clean, corrupt] = [first!.clean.tokens[position] ?? "", first!.corrupt.tokens[position] ?? ""];
  return clean === corrupt ? visible(clean) : `${visible(clean)} / ${visible(corrupt)}`;
}

/** Name of a place of the table: "18.6", "layer 4, position 5 ·Brown / ·Green". */
export function placeName(patched: Patched, { layer, column }: Pick<TablePlace, "layer" | "column">): string {
  if (patched.by === "head") return `${ofKvHeads(patched.node) ? "KV " : ""}${layer}.${column}`;
  if (patched.by === "layer") return `layer ${layer}`;
  return `layer ${layer}, position ${column} ${positionTokens(patched, column)}`;
}

/** The query heads that a cell of a table by head stands for: those of its group where it is a KV head. */
export function queryHeads(name: string, { node, path }: Patched, shape: HeadShape): string[] {
  if (path !== undefined || !ofKvHeads(node)) return [name];
  return groupOf(readHead(name)!, shape).map(formatHead);
}

/** Share of restoration below which a path counts as nothing. */
const NOTHING = 0.01;

/** Why no path restores anything, and what to try; undefined where one does, or where no paths were patched. */
export function nothingWords({ path, response }: Patched): string | undefined {
  if (path?.through === undefined) return undefined;
  const shares = restoration(response).flat().filter(Number.isFinite);
  if (shares.length === 0 || shares.some((share) => Math.abs(share) >= NOTHING)) return undefined;
  const why = {
    q: "Their queries stand at the end of the prompt, and what earlier heads write there is the same in both prompts, or does not decide.",
    k: "Keys decide where these heads look. In a pair that changes only which token is copied they look at the same place in both prompts: take a pair that changes the tokens before the ones to copy.",
    v: "Values decide what these heads copy. In a pair that changes only where they look every place holds the same values in both prompts: take a pair that changes the token to copy.",
  }[path.through];
  return `No path into ${path.into.join(", ")} restores anything. ${why}`;
}

/** The senders of paths that are no heads, those first that move most. */
export function otherSenders({ response }: Patched): { readonly name: string; readonly share: number }[] {
  const { patchedMlps = [], patchedEmbed } = response;
  const mlps = patchedMlps.flatMap((value, layer) => (value === null ? [] : [{ name: `m${layer}`, value }]));
  return [...mlps, ...(patchedEmbed === undefined ? [] : [{ name: "embed", value: patchedEmbed }])]
    .map(({ name, value }) => ({ name, share: shareOf(value, response) }))
    .filter(({ share }) => Number.isFinite(share))
    .sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
}

/** All numbers as a table. */
export function patchedTable(patched: Patched): Table {
  const shares = restoration(patched.response);
  const column =
    patched.by === "head"
      ? ofKvHeads(patched.node)
        ? "kv_head"
        : "head"
      : patched.by === "position"
        ? "position"
        : undefined;
  return {
    columns: [
      "layer",
      ...(column === undefined ? [] : [column]),
      patched.metric === "logit-diff" ? "logit_difference" : patched.metric,
      EFFECTS[patched.direction].word,
    ],
    rows: patched.response.patched.flatMap((row, layer) =>
      row.flatMap((value, c) =>
        value === null ? [] : [[layer, ...(column === undefined ? [] : [c]), value, shares[layer]![c]!]],
      ),
    ),
  };
}

/** The table by position as a heatmap; places that can't matter are grey. @param layers of the model */
export function positionFigure(patched: Patched, layers: number, locked: number | undefined): PlotFigure {
  const shares = restoration(patched.response);
  const positions = shares[0]?.length ?? 0;
  const pair = { layers, positions, differ: unionOfDiffer(patched.alignments) };
  const places = Array.from({ length: positions }, (_, p) => p);
  const can = shares.map((row, layer) => row.map((_, p) => canMatter(patched.node, layer, p, pair)));
  const end = scaleEnd(shares);
  const { word } = EFFECTS[patched.direction];
  const tokens = places.map((p) => plotText(positionTokens(patched, p)));
  const words = shares.map((row, layer) =>
    row.map((share, p) => {
      const place = `layer ${layer}, position ${p} ${tokens[p]}`;
      if (!can[layer]![p]) return `${place}<br>cannot matter: both runs are alike here, or nothing reads it`;
      return `${place}<br>${word} ${shareText(share)}<br>${metricOf(share, patched)}`;
    }),
  );
  const common = { type: "heatmap", x: places, xgap: 1, ygap: 1, hoverinfo: "text", text: words };
  const grey = "rgba(128, 128, 128, 0.22)";
  return {
    data: [
      { ...common, z: can.map((row) => row.map((matters) => (matters ? null : 1))), colorscale: [[0, grey], [1, grey]], showscale: false },
      {
        ...common,
        z: shares.map((row, layer) => row.map((share, p) => (can[layer]![p] ? share : null))),
        colorscale: plotlyScale("diverging"),
        zmin: -end,
        zmax: end,
        hoverongaps: false,
        colorbar: { thickness: 12, outlinewidth: 0, tickformat: ".0%", title: { text: word, side: "right" } },
      },
    ], // biome-ignore format: one line a trace
    layout: {
      xaxis: {
        tickmode: "array",
        tickvals: places,
        ticktext: tokens,
        tickangle: -60,
        showgrid: false,
        zeroline: false,
      },
      yaxis: { title: { text: "layer" }, showgrid: false, zeroline: false, dtick: layers > 16 ? 5 : 1 },
      shapes: locked === undefined || locked >= positions ? [] : [column(locked)],
      margin: { l: 48, r: 8, t: 8, b: 80 },
    },
  };
}

function column(position: number): object {
  const [x0, x1] = [position - 0.5, position + 0.5];
  return { type: "rect", x0, x1, y0: 0, y1: 1, yref: "paper", line: { width: 2, color: "#d55e00" } };
}

/** The table by layer as bars. */
export function layerFigure(patched: Patched): PlotFigure {
  const shares = restoration(patched.response).map(([share]) => share!);
  const { word } = EFFECTS[patched.direction];
  return {
    data: [
      {
        type: "bar",
        x: shares.map((_, layer) => layer),
        y: shares,
        text: shares.map((share) => `${word} ${shareText(share)}<br>${metricOf(share, patched)}`),
        textposition: "none",
        marker: { color: shares.map((share) => lineColour(share < 0 ? 0 : 1)) },
        hovertemplate: "layer %{x}<br>%{text}<extra></extra>",
      },
    ],
    layout: {
      xaxis: { title: { text: "layer" }, dtick: shares.length > 16 ? 5 : 1 },
      yaxis: {
        title: { text: word },
        tickformat: ".0%",
        zeroline: true,
        range: [Math.min(0, 1.05 * Math.min(...shares)), Math.max(1, 1.05 * Math.max(...shares))],
      },
      margin: { l: 56, r: 8, t: 8, b: 40 },
    },
  };
}
