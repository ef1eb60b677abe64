import { z } from "zod";
import type { BlockPolicy } from "../kinds/blocks.ts";
import { Squares } from "../prompt/squares.ts";

const parameters = z.object({
  sinks: z.int().min(0).default(1).describe("first squares of 64 tokens that every query reads"),
  local: z.int().min(1).default(8).describe("last squares that every query reads, its own included"),
  stride: z.int().min(1).default(16).describe("squares from one that every query reads to the next"),
});

/** The layers that read everything, of so many: a third, in the middle. */
export function fullLayers(layers: number): number[] {
  return Array.from({ length: Math.ceil(layers / 3) }, (_, i) => Math.floor(layers / 3) + i);
}

/** A third of the layers full, in the middle; first, near and strided keys in the others. */
export const longgen: BlockPolicy<typeof parameters> = {
  name: "longgen",
  title: "A third of the layers full, the others sparse",
  description:
    "The layers of the middle third read everything; the others the first squares of 64 keys, the nearest, and every `stride`-th. Its paper " +
    "trains a model so; here an untrained one runs so.",
  source:
    "Ge et al. 2024, A Little Goes a Long Way: Efficient Long Context Training and Inference with Partial Contexts",
  chooses: "blocks",
  placed: true,
  parameters,
  choose(view, { sinks, local, stride }) {
    if (fullLayers(view.config.n_layers).includes(view.layer)) return undefined;
    const squares = new Squares(view, 1);
    squares.fill(0, (row, column) => column < sinks || squares.firstOwn(row) - column < local || column % stride === 0);
    return squares;
  },
};
