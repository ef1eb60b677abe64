import { z } from "zod";
import type { BlockPolicy, ColumnRule } from "../kinds/blocks.ts";
import { inUnit } from "../kinds/units.ts";
import { Squares } from "../prompt/squares.ts";

const parameters = z.object({
  sinks: inUnit("squares", z.int().min(0).default(1).describe("first squares of 64 tokens that every query reads")),
  local: inUnit("squares", z.int().min(1).default(8).describe("last squares that every query reads, its own included")),
  stride: inUnit("squares", z.int().min(1).default(16).describe("squares from one that every query reads to the next")),
  free: z
    .boolean()
    .default(true)
    .describe(
      "whether the sparse layers let go what no later token reads; false: they hold all, and new tokens read it",
    ),
});

/** The layers that read everything, of so many: a third, in the middle. */
export function fullLayers(layers: number): number[] {
  return Array.from({ length: Math.ceil(layers / 3) }, (_, i) => Math.floor(layers / 3) + i);
}

/** The columns that the queries of a square read in a sparse layer. */
function sparse({ sinks, local, stride }: z.output<typeof parameters>): ColumnRule {
  return (column, own) => column < sinks || own - column < local || column % stride === 0;
}

/** A third of the layers full, in the middle; first, near and strided keys in the others. */
export const longgen: BlockPolicy<typeof parameters> = {
  name: "longgen",
  title: "A third of the layers full, the others sparse",
  description:
    "The layers of the middle third read everything; the others the first squares of 64 keys, the nearest, and every `stride`-th, and let go the " +
    "keys that no later token reads. Its paper trains a model so; here an untrained one runs so.",
  source:
    "Ge et al. 2024, A Little Goes a Long Way: Efficient Long Context Training and Inference with Partial Contexts",
  chooses: "blocks",
  placed: true,
  parameters,
  choose(view, params) {
    if (fullLayers(view.config.n_layers).includes(view.layer)) return undefined;
    const squares = new Squares(view, 1);
    const reads = sparse(params);
    squares.fill(0, (row, column) => reads(column, squares.firstOwn(row)));
    return squares;
  },
  holds(params) {
    if (!params.free) return undefined;
    return ({ n_layers }, layer) => (fullLayers(n_layers).includes(layer) ? undefined : sparse(params));
  },
};
