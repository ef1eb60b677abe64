import type { ComparedModel, HeadComparison, LayerProfile } from "../../common/api/documents.ts";
import { bold, dim, number, right, table } from "./format.ts";

/** Equal parts of the depth that layers are gathered in: models of any number of layers then share their rows. */
const PARTS = 10;

/** A comparison for people: the finding, the best heads side by side, and the layers by depth. */
export function headComparisonText(comparison: HeadComparison): string {
  const { sentence, caveat, models } = comparison;
  return [
    sentence,
    ...(caveat === undefined ? [] : [caveat]),
    "",
    topText(comparison),
    "",
    bold(`${comparison.metric} by depth`),
    depthText(models),
  ].join("\n");
}

function topText({ axis, metric, models }: HeadComparison): string {
  const [first, second] = models;
  const columns = [axis === "heads" ? "head" : "KV head", "depth", metric].map(right);
  const cells = ({ top }: ComparedModel, i: number): string[] => {
    const { head, depth, value } = top[i]!;
    return [head, number(depth, 2), number(value)];
  };
  const rows = first.top.map(({ rank }, i) => [String(rank), ...cells(first, i), ...cells(second, i)]);
  return [
    bold(`${first.model.ref}, then ${second.model.ref}`),
    table([right(""), ...columns, ...columns], rows, "  "),
  ].join("\n");
}

function depthText(models: HeadComparison["models"]): string {
  const parts = models.map(({ layers }) => byDepth(layers));
  const rows = Array.from({ length: PARTS }, (_, part) => {
    const range = `${number(part / PARTS, 1)} to ${number((part + 1) / PARTS, 1)}`;
    return [range, ...parts.flatMap((layers) => partCells(layers[part]!))];
  });
  const columns = [right("best"), right("mean")];
  return [
    table(["depth", ...columns, ...columns], rows, "  "),
    dim("  depth is layer / (layers - 1); – where a model has no layer"),
  ].join("\n");
}

/** Layers in equal parts of the depth; the last part has its end. */
function byDepth(layers: readonly LayerProfile[]): LayerProfile[][] {
  const parts = Array.from({ length: PARTS }, (): LayerProfile[] => []);
  // A depth that is a tenth must not fall a hair short of its part in floating point.
  for (const layer of layers) parts[Math.min(PARTS - 1, Math.floor(layer.depth * PARTS + 1e-9))]!.push(layer);
  return parts;
}

function partCells(layers: readonly LayerProfile[]): [string, string] {
  if (layers.length === 0) return ["–", "–"];
  const mean = layers.reduce((sum, layer) => sum + layer.mean, 0) / layers.length;
  return [number(Math.max(...layers.map(({ best }) => best))), number(mean)];
}
