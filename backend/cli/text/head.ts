import type { Composition } from "../../circuits/weights/composition.ts";
import type { HeadInWeights, HeadWeights } from "../../circuits/weights/head-weights.ts";
import type { PositionKernel } from "../../circuits/weights/position-kernel.ts";
import type { HeadTokenPairs } from "../../circuits/weights/token-pairs.ts";
import type { Model } from "../../models/model.ts";
import { bold, count, dim, number, percent, right, table, tokenText } from "./format.ts";

const COMPOSITIONS_SHOWN = 12;
const DISTANCES_SHOWN = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/** Heads in the weights for people. @param how.processing switches of --process, as they were given */
export function headWeightsText(
  { heads, composition, tokenPairs = [], positions = [] }: HeadWeights,
  { model, processing }: { model: Model; processing: string | undefined },
): string {
  return [
    `${bold("heads in the weights")} of ${model.ref}, ${processing === undefined ? "as they are" : `after ${processing}`}`,
    headTable(heads),
    ...(composition.length === 0 ? [] : ["", "Composition, earlier head to later", compositionTable(composition)]),
    ...(composition.length > COMPOSITIONS_SHOWN
      ? [dim(`  the strongest ${COMPOSITIONS_SHOWN} of ${count(composition.length)}; --json has all`)]
      : []),
    ...tokenPairs.flatMap((pairs) => ["", pairsText(pairs, model)]),
    ...(positions.length === 0 ? [] : ["", ...positions.map(kernelText)]),
  ].join("\n");
}

function headTable(heads: readonly HeadInWeights[]): string {
  const optional = (value: number | undefined): string => (value === undefined ? "-" : number(value));
  const rows = heads.map(({ head, copying, matching, ov, qk }) => [
    head,
    optional(copying),
    number(ov.norm),
    ov.singular.map((value) => number(value, 2)).join(" "),
    optional(matching),
    number(qk.norm),
    qk.singular.map((value) => number(value, 2)).join(" "),
  ]);
  const columns = [
    right("head"),
    right("copying"),
    right("OV norm"),
    "singular values",
    right("matching"),
    right("QK norm"),
    "singular values",
  ];
  return table(columns, rows, "  ");
}

function compositionTable(composition: readonly Composition[]): string {
  const strongest = ({ q, k, v }: Composition): number => Math.max(q, k, v);
  const rows = composition
    .toSorted((a, b) => strongest(b) - strongest(a))
    .slice(0, COMPOSITIONS_SHOWN)
    .map(({ from, to, q, k, v }) => [from, to, number(q), number(k), number(v)]);
  return table(["from", "to", "q", "k", "v"].map(right), rows, "  ");
}

function pairsText({ head, pairs, diagonal }: HeadTokenPairs, model: Model): string {
  return [
    `Token pairs of ${head}: it copies ${percent(diagonal.top1)} of the tokens best, ${percent(diagonal.top10)} among ten; median rank ${count(diagonal.median)}`,
    table(
      ["source", "target", right("value")],
      pairs.map(({ source, target, value }) => [tokenText(model, source), tokenText(model, target), number(value)]),
      "  ",
    ),
  ].join("\n");
}

function kernelText({ head, positions, mean, same }: PositionKernel): string {
  const shown = DISTANCES_SHOWN.filter((distance) => distance < mean.length);
  const line = (label: string, values: readonly number[]): string[] => [
    label,
    ...shown.map((distance) => number(values[distance]!, 2)),
  ];
  const rows = [line("any token", mean), ...(same ? [line("itself", same)] : [])];
  const columns = ["distance", ...shown.map((distance) => right(String(distance)))];
  return `Kernel of positions of ${head}, ${positions === "rotary" ? "rotated" : "learned"}\n${table(columns, rows, "  ")}`;
}
